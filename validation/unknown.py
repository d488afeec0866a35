"""What the simulations cannot say; the last section of the page."""

NOT_KNOWN = (
    "A generator's rates are that generator's. Two of them agree or differ; neither is a real model's contexts.",
    "A margin bounds a linear probe with this number of episodes, not the context. Only linear and quadratic codes are "
    "planted.",
    "Below 40 episodes the bound of the preserving verdict is not calibrated (12 % too high at 20 episodes, in an "
    "independent simulation): its rows there test sizes and powers, not where the margin lies.",
    "Intervals are held against the mean of their statistic with the same number of episodes, except those of F and of "
    "equal models, whose truth is planted. What a statistic converges to with more episodes is not asked.",
    "Powers that are quoted come from two further generators; a floor of that power less 10 points shows that a rule "
    "is not always undecided, not that it is the best one.",
    "Not simulated: several training seeds of a model; sessions together with a text that differs by session; a new "
    "recording day; unequal widths of two models; verdicts on more than 200 episodes; labels of more than 4 classes; "
    "instructions that are given frame by frame; rows of training episodes among those judged; an untrained "
    "backbone as baseline.",
    "Rows with a bound that is not refuted are no evidence that it is kept.",
)
