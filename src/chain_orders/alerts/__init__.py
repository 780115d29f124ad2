"""What a person must hear of without asking: raised once, told again when it is over, each with what to do."""
