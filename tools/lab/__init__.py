"""How the models that ship were made: their world, corpus, questions and build. Not in the wheel."""
