"""mlcslm: train, decode, diarize and score a reasoning speech language model on multilingual conversations."""

__version__ = "0.1.0"
