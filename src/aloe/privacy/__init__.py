"""Personas from people's chats: reading them, taking personal data out, and forgetting a person again."""
