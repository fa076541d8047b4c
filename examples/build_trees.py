"""Preference trees from your own endpoint: python examples/build_trees.py http://localhost:8000/v1 openai:MODEL OUT"""

import sys

from aloe.config import load_config
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir

base_url, model, out = sys.argv[1:4]
everybody = {"uri": model, "base_url": base_url, "temperature": 0.7}
roles = dict.fromkeys(("writer", "user", "inducer", "tailored", "generic", "judge"), everybody)
trees = {"n_trees": 8, "n_turns": 4, "policy": "both:1", "orders": 2}
personas = {"n_profiles": 40, "n_personalities": 20, "n_personas": 8, "n_bench": 8}
config = load_config(None, {"roles": roles, "trees": trees, "personas": personas})
outcome = run_pipeline(config, RunDir(out), "mine", only="export")
print(f"{outcome.summaries['export']['n_pairs']} pairs: aloe export {out} --format hub")
