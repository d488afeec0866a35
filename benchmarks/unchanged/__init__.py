"""Does a rebuild change what comes out? The same commands on an earlier commit's code and on the code at hand."""
