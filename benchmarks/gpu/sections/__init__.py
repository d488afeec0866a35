"""What is measured, one thing a file: `run(bench)` hands over what it finds as soon as it has it."""
