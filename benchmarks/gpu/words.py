"""What goals know lines by: units, and parts of their names."""

RATE = "windows/s"
MFU = "% of the measured bf16 peak (MFU)"
HZ = "control steps/s"
DIFFERENCE = "relative difference from the CPU"
ENTRIES = "entries that differ"

TRAINER = "through the Trainer"  # as users run it
LORA_ALL = "LoRA all, bf16"
TAKEN = "taken of the device, batch 1"
EAGER = "eager"
CONTEXTS, GRADIENTS = "contexts", "all gradients together"
