"""What runs on the training machine: replay log, off-policy residual learner, base policy training."""
