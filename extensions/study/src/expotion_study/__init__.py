"""A listening test: blind and balanced, built from folders of music, served as a small web page, analysed.

sources of music come from the pipeline; here: design.py (who hears what), stimuli.py and build.py (media at one
loudness), headphones.py, store.py (answers), session.py (what comes next), server.py and pages.py (the web page),
analysis.py, bradley_terry.py, results.py and figure.py.
"""
