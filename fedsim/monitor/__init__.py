"""A run in Prometheus and Grafana: which numbers there are, how they get there, and what they are drawn with."""
