"""ko-eval: how good is a language model in Korean?"""

__version__ = "0.1.0"
