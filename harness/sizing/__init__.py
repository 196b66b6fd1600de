"""How many servers a demand takes, and what they cost: of what was measured, and pure."""
