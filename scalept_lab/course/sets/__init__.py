"""One module per notebook: `nb02.EXERCISES` holds the exercises of `notebooks/02_….ipynb`."""
