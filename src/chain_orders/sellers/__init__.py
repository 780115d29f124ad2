"""The sellers this marketplace sells for: who they are, how to reach them, and their credentials at rest."""
