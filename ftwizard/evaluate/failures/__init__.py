"""The five failures of fine-tuning: forgetting, overfitting, memorization, mode collapse, safety."""
