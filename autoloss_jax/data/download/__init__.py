"""Public datasets: where they are published, how they are fetched, checked and unpacked."""
