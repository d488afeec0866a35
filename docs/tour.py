# %% [markdown]
# # mobile_vla in a notebook
# Take a run, and drive it on recorded frames; look at what its contexts hold; judge it. Run with
# `python docs/tour.py <run> <episodes> [<probe>/contexts]`, or open it as a notebook (Jupytext, VS Code) and set these.
# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score

import mobile_vla as mv

RUN, EPISODES, STORE = (*sys.argv[1:], None, None, None)[:3]

# %% One frame, one instruction: the next actions, in the data's own units.
policy = mv.load(RUN)
data = mv.open_dataset(EPISODES, components=policy.components)
recording = data[0]
drive = policy.start(recording.instruction)
chunk = drive.act(recording.frames[0])
print(policy.components, chunk.shape, chunk[0])

# %% What the head reads on the way through recorded episodes: one context a frame.
with policy.capture("context") as taps:
    for recording in data[:12]:
        drive = policy.start(recording.instruction)
        predicted = np.stack([drive.act(frame)[0] for frame in recording.frames])
    X, groups = taps["context"], taps.drives
y = np.concatenate([[recording.labels["direction"]] * len(recording) for recording in data[:12]])

# %% Can a linear probe tell the direction? Folds are by whole episodes, since frames of one episode are alike.
scores = cross_val_score(LogisticRegression(max_iter=1000), X, y, groups=groups, cv=GroupKFold(3))
print(f"direction from one context: {scores.mean():.0%} of the frames, over {len(set(groups))} episodes")

# %% A verdict that holds up: against permutations, baselines and what the frames alone give away.
if STORE is not None:
    verdicts = mv.judge(mv.open_store(STORE), target="direction", permutations=99, spikes=60)
    print(verdicts)

# %% Predicted and recorded forward velocity of the last episode; its contexts among the others.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
left.plot(recording.actions[:, 0], label="recorded")
left.plot(predicted[:, 0], label="predicted")
left.set(xlabel="frame", ylabel=policy.components[0])
left.legend()
right.scatter(*PCA(2).fit_transform(X).T, c=[value == "left" for value in y], s=8)
right.set(title="contexts, by direction")
figure.savefig("tour.png")
