"""The simulated world: users, responders and a judge that read the same prompts as real models.

``model.py`` has the ChatModel, ``truth.py`` the ground truth.
"""
