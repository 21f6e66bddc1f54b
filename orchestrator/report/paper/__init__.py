"""Paper kit of a report: what an author needs to put an experiment into a paper, and a reviewer to run it again."""
