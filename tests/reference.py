"""The slow reference: section 3 of the paper, one example and one step at a time.

Written from the definitions of truncation, segments and losses with Python loops, an
eager tape and `tf.stop_gradient`. It shares no code with the package; it reads a
model's weights and is told what was drawn.
"""

import tensorflow as tf


def lstm(cell, x, states):
    h, c = states
    z = x @ cell.kernel + h @ cell.recurrent_kernel + cell.bias
    i, f, g, o = tf.split(z, 4, axis=-1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return [tf.sigmoid(o) * tf.tanh(c), c]


def gru(cell, x, states):
    """Keras's GRU with `reset_after`."""
    (h,) = states
    xz, xr, xh = tf.split(x @ cell.kernel + cell.bias[0], 3, axis=-1)
    hz, hr, hh = tf.split(h @ cell.recurrent_kernel + cell.bias[1], 3, axis=-1)
    z, r = tf.sigmoid(xz + hz), tf.sigmoid(xr + hr)
    return [z * h + (1 - z) * tf.tanh(xh + r * hh)]


STEPS = {"LSTMCell": lstm, "GRUCell": gru}


def step(cell, x, states):
    return STEPS[type(cell).__name__](cell, x, states)


def zeros(cell):
    width = cell.units
    return [tf.zeros((1, width)) for _ in range(2 if type(cell).__name__ == "LSTMCell" else 1)]


def constant(states):
    return [tf.stop_gradient(s) for s in states]


def embed(model, x):
    embedding = model.encoder.embedding
    return x if embedding is None else x @ embedding.kernel + embedding.bias


def read(model, tokens, count, truncation):
    """States after `count` tokens; gradient through the last `truncation` steps only."""
    states = zeros(model.encoder.cell)
    for t in range(count):
        if truncation is not None and t == count - truncation:
            states = constant(states)
        states = step(model.encoder.cell, embed(model, tokens[t : t + 1]), states)
    return constant(states) if truncation == 0 else states


def head(decoder, h, mask):
    kernel = decoder.readout.kernel * (1.0 if mask is None else mask)
    hidden = tf.nn.relu(h @ decoder.hidden.kernel + decoder.hidden.bias)
    return hidden @ kernel + decoder.readout.bias


def cut(states, t, truncation):
    """States at the start of step t: constants every `truncation` steps."""
    return constant(states) if truncation and t > 0 and t % truncation == 0 else states


def run_stack(decoder, stack, x, t):
    """One step of a stack of cells; returns the top output and the new states."""
    after = []
    for cell, states in zip(decoder.cells, stack):
        states = step(cell, x, cut(states, t, decoder.truncation))
        if decoder.truncation == 0:
            states = constant(states)
        after.append(states)
        x = states[0]
    return x, after


def decode(model, decoder, segment, states, feed, mask):
    """Predicted tokens of a segment of l + 1 true ones."""
    if decoder.projections:
        states = [s @ p.kernel + p.bias for s, p in zip(states, decoder.projections)]
    stack = [states, *(zeros(cell) for cell in decoder.cells[1:])]
    predicted = []
    for t in range(len(segment) - 1):
        x = segment[t : t + 1]
        if t > 0 and feed is not None and not feed[t]:
            x = predicted[-1] if decoder.feedback_gradient else tf.stop_gradient(predicted[-1])
            if decoder.truncation and t % decoder.truncation == 0:
                x = tf.stop_gradient(x)
        h, stack = run_stack(decoder, stack, embed(model, x), t)
        predicted.append(head(decoder, h, mask))
    return predicted


def predict_stacked(model, task, segment, states, mask):
    """Figure 2, right: the main RNN reads on, a stack above it predicts."""
    stack, states = [zeros(cell) for cell in task.decoder.cells], constant(states)
    predicted = []
    for t in range(len(segment) - 1):
        states = cut(states, t, task.truncation)
        states = step(model.encoder.cell, embed(model, segment[t : t + 1]), states)
        if task.truncation == 0:
            states = constant(states)
        h, stack = run_stack(task.decoder, stack, states[0], t)
        predicted.append(head(task.decoder, h, mask))
    return predicted


def segment_error(model, task, tokens, anchor, start, length, feed, mask):
    """L_i of equation 2, for one anchor of one example."""
    if length == 0:
        return 0.0
    segment = tokens[start : start + length + 1]
    if task.reverse:
        segment = segment[::-1]
    if getattr(task, "structure", None) == "stacked":
        predicted = predict_stacked(model, task, segment, read(model, tokens, anchor, 0), mask)
    else:
        states = read(model, tokens, anchor + 1, task.truncation)
        predicted = decode(model, task.decoder, segment, states, feed, mask)
    return sum(tf.reduce_sum(tf.square(x - segment[t + 1])) for t, x in enumerate(predicted))


def auxiliary_loss(model, task, tokens, draws):
    """Equation 1 over a batch."""
    total, count = 0.0, 0
    for b in range(len(tokens)):
        for i in range(task.num_anchors):
            anchor, start, length = (int(field[b, i]) for field in draws.segments)
            feed = draws.feed[b, i].numpy() if draws.feed.shape[-1] else None
            mask = draws.mask[b, i] if draws.mask.shape[-1] else None
            total += segment_error(model, task, tokens[b], anchor, start, length, feed, mask)
            count += length
    return total / count if count else tf.constant(0.0)


def supervised_loss(model, tokens, lengths, labels, mask):
    """Mean cross-entropy of the classifier on the output at the last valid step."""
    losses = []
    for b in range(len(tokens)):
        h = read(model, tokens[b], int(lengths[b]), model.encoder.truncation)[0]
        hidden = tf.nn.relu(h @ model.hidden.kernel + model.hidden.bias)
        kernel = model.readout.kernel * (1.0 if mask is None else mask[b])
        logits = hidden @ kernel + model.readout.bias
        losses.append(-tf.nn.log_softmax(logits)[0, int(labels[b])])
    return sum(losses) / len(losses)
