"""How often the verdict is right: a simulated estate with faults, controls and damage, judged beside simpler methods."""
