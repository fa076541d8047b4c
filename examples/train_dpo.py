"""TRL's own DPOTrainer on an exported folder: python examples/train_dpo.py RUN/datasets/hub MODEL OUT [STEPS]"""

import sys

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

folder, model, out = sys.argv[1:4]
pairs = load_dataset(folder, split="train").select_columns(["prompt", "chosen", "rejected"])
gpu, steps = torch.cuda.is_available(), int(sys.argv[4]) if sys.argv[4:] else -1
options = DPOConfig(out, max_steps=steps, max_length=None, report_to="none", bf16=gpu, use_cpu=not gpu)
trainer = DPOTrainer(
    AutoModelForCausalLM.from_pretrained(model), args=options, train_dataset=pairs,
    processing_class=AutoTokenizer.from_pretrained(model),
)  # fmt: skip
trainer.train()
trainer.save_model(out)
