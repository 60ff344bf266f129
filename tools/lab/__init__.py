"""How the models that ship were made: world, corpus, questions, build. Not in the wheel."""
