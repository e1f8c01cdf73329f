"""The losses of supervised re-ID in PyTorch, written from their formulas."""

import torch
from torch.nn import functional


def smoothed_cross_entropy(logits, labels, epsilon=0.1):
    """Targets 1 - epsilon, and epsilon / (C - 1) for each other class; mean of the losses not 0."""
    target = torch.full_like(logits, epsilon / (logits.shape[1] - 1))
    target.scatter_(1, labels[:, None], 1 - epsilon)
    losses = -(target * functional.log_softmax(logits, dim=1)).sum(1)
    return losses.sum() / losses.count_nonzero().clamp(min=1)


def batch_hard_triplet(features, labels, margin=0.3):
    """Farthest positive, the anchor included, against nearest negative; mean over the batch."""
    distance, same = _distances(features, labels)
    farthest = distance.masked_fill(~same, -torch.inf).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    return _ranking(farthest, nearest, margin)


def weighted_triplet(features, labels, margin=0.0):
    """All positives against all negatives, weighted by the softmax of +-their distances.

    Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021,
    arXiv 2001.04193.
    """
    distance, same = _distances(features, labels)
    positive = distance.masked_fill(~same, -torch.inf).softmax(1)
    negative = (-distance).masked_fill(same, -torch.inf).softmax(1)
    return _ranking((positive * distance).sum(1), (negative * distance).sum(1), margin)


def _distances(features, labels):
    squared = (features[:, None] - features[None]).square().sum(2)
    return squared.clamp(min=1e-12).sqrt(), labels[:, None] == labels[None]


def _ranking(positive, negative, margin):
    """A margin of 0 stands for the soft one."""
    gap = positive - negative
    return (functional.relu(gap + margin) if margin else functional.softplus(gap)).mean()


def circle_logits(features, kernel, labels, scale=64.0, margin=0.35):
    """Cosines to the rows of the kernel [C, d], weighted by how far each is from its optimum.

    Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", 2020,
    arXiv 2002.10857.
    """
    cosine = functional.normalize(features) @ functional.normalize(kernel).T
    true = (1 + margin - cosine).clamp(min=0).detach() * (cosine - (1 - margin))
    other = (cosine + margin).clamp(min=0).detach() * (cosine - margin)
    is_true = functional.one_hot(labels, len(kernel)).bool()
    return scale * torch.where(is_true, true, other)


def reid_loss(heads, groups, labels, task):
    """The sum of both losses of a re-ID network, each averaged over what it is computed of.

    Args:
        heads: {name: (before, after, kernel [C, E] of the classifier)}.
        groups: names of the heads whose features stand side by side in one triplet loss.
        labels: [B].
        task: settings by the names of our group `task`.
    """
    classification, triplets = [], []
    for _, after, kernel in heads.values():
        if task.classifier == "circle":
            scale, margin = task.classifier_scale, task.classifier_margin
            logits = circle_logits(after, kernel, labels, scale, margin)
        else:
            logits = after @ kernel.T
        classification.append(smoothed_cross_entropy(logits, labels, task.label_smoothing))
    compare = batch_hard_triplet if task.mining == "hard" else weighted_triplet
    for group in groups:
        side = ("before", "after").index(task.triplet_feature)
        joined = torch.cat([heads[name][side] for name in group], dim=1)
        triplets.append(compare(joined, labels, task.margin))
    return torch.stack(classification).mean() + torch.stack(triplets).mean()
