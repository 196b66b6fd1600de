"""What a server looks like while load runs: memory, CPU, GPUs and its engine's metrics page."""
