"""OpenVINO GenAI: its models, drafters and answers."""
