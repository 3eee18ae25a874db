"""How worker processes start, are pinned, announce themselves and drain."""
