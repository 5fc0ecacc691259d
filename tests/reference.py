"""The slow reference: section 3 of the paper, one example and one step at a time.

Written from the definitions of truncation, segments and losses with Python loops, an
eager tape and `tf.stop_gradient`. It shares no code with the package; it reads a
model's weights and is told what was drawn.
"""

import numpy as np
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


def irnn(cell, x, states):
    return [tf.nn.relu(x @ cell.kernel + states[0] @ cell.recurrent_kernel + cell.bias)]


def urnn_matrix(cell):
    """W of a uRNN as a product of matrices."""
    n = cell.units
    angle = tf.constant(-2 * np.pi / n * np.outer(range(n), range(n)), tf.float32)
    fourier = tf.exp(tf.complex(tf.zeros_like(angle), angle))
    permutation = tf.constant(np.eye(n)[cell.permutation], tf.complex64)
    d1, d2, d3 = (tf.linalg.diag(tf.complex(tf.cos(p), tf.sin(p))) for p in tf.unstack(cell.phases))

    def reflection(parts):
        v = tf.complex(parts[:n], parts[n:])[:, None]
        square = tf.linalg.adjoint(v) @ v
        return tf.eye(n, dtype=v.dtype) - 2 * v @ tf.linalg.adjoint(v) / square

    r1, r2 = (reflection(parts) for parts in tf.unstack(cell.reflections))
    back = tf.linalg.adjoint(fourier) / n
    return d3 @ r2 @ back @ d2 @ permutation @ r1 @ fourier @ d1


def urnn(cell, x, states):
    n = cell.units
    h, v = (tf.complex(t[:, :n], t[:, n:]) for t in (states[0], x @ cell.kernel))
    z = h @ tf.transpose(urnn_matrix(cell)) + v
    scale = tf.nn.relu(tf.abs(z) + cell.bias) / (tf.abs(z) + 1e-5)
    return [tf.concat([scale * tf.math.real(z), scale * tf.math.imag(z)], axis=1)]


STEPS = {"LSTMCell": lstm, "GRUCell": gru, "IRNNCell": irnn, "URNNCell": urnn}


def step(cell, x, states):
    return STEPS[type(cell).__name__](cell, x, states)


def first(cell):
    """States before the first token: zero, but of a uRNN trained."""
    if type(cell).__name__ == "URNNCell":
        return [cell.initial_state[None]]
    return [tf.zeros((1, cell.units)) for _ in range(2 if type(cell).__name__ == "LSTMCell" else 1)]


def constant(states):
    return [tf.stop_gradient(s) for s in states]


def embed(model, x):
    """`(1, features)` tokens, or `(1,)` characters, as the RNNs read them."""
    embedding = model.encoder.embedding
    if embedding is None:
        return x
    if embedding.vocabulary_size is not None:
        return embedding.kernel[int(x[0])][None]
    return x @ embedding.kernel + embedding.bias


def read(model, tokens, count, truncation):
    """States after `count` tokens; gradient through the last `truncation` steps only, and to
    the initial state, which a cell may train, if those are all steps."""
    states = first(model.encoder.cell)
    for t in range(count):
        if truncation is not None and t == count - truncation > 0:
            states = constant(states)
        states = step(model.encoder.cell, embed(model, tokens[t : t + 1]), states)
    return constant(states) if truncation == 0 else states


def head(readout, h, mask):
    if readout.hidden_units:
        h = tf.nn.relu(h @ readout.hidden.kernel + readout.hidden.bias)
    kernel = readout.output_layer.kernel * (1.0 if mask is None else mask)
    return h @ kernel + readout.output_layer.bias


def error(target, predicted):
    """TokenLoss: squared error of a real token, cross-entropy of a character."""
    if target.dtype.is_floating:
        return tf.reduce_sum(tf.square(predicted - target))
    return -tf.math.log(tf.nn.softmax(predicted)[0, int(target)])


def feed_back(decoder, predicted, uniform):
    """A decoder's own token: its output, or a character of its distribution."""
    if uniform is None:
        return predicted if decoder.feedback_gradient else tf.stop_gradient(predicted)
    if decoder.feedback == "argmax":
        return tf.constant([int(tf.argmax(predicted[0]))])
    probability = tf.nn.softmax(predicted)[0].numpy()
    total, character = probability[0], 0
    while total <= uniform * probability.sum():
        character += 1
        total += probability[character]
    return tf.constant([character])


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


def decode(model, decoder, segment, states, feed, uniform, mask):
    """Predicted tokens of a segment of l + 1 true ones."""
    if decoder.projections:
        states = [s @ p.kernel + p.bias for s, p in zip(states, decoder.projections)]
    stack = [states, *(first(cell) for cell in decoder.cells[1:])]
    predicted = []
    for t in range(len(segment) - 1):
        x = segment[t : t + 1]
        if t > 0 and feed is not None and not feed[t]:
            x = feed_back(decoder, predicted[-1], None if uniform is None else uniform[t - 1])
            if decoder.truncation and t % decoder.truncation == 0:
                x = tf.stop_gradient(x)
        h, stack = run_stack(decoder, stack, embed(model, x), t)
        predicted.append(head(decoder.readout, h, mask))
    return predicted


def predict_stacked(model, task, segment, states, mask):
    """Figure 2, right: the main RNN reads on, a stack above it predicts."""
    stack, states = [first(cell) for cell in task.decoder.cells], constant(states)
    predicted = []
    for t in range(len(segment) - 1):
        states = cut(states, t, task.truncation)
        states = step(model.encoder.cell, embed(model, segment[t : t + 1]), states)
        if task.truncation == 0:
            states = constant(states)
        h, stack = run_stack(task.decoder, stack, states[0], t)
        predicted.append(head(task.decoder.readout, h, mask))
    return predicted


def segment_error(model, task, tokens, anchor, start, length, feed, uniform, mask):
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
        predicted = decode(model, task.decoder, segment, states, feed, uniform, mask)
    return sum(error(segment[t + 1], x) for t, x in enumerate(predicted))


def language_model_error(model, task, tokens, mask):
    """Dai & Le: the main RNN predicts every next token of a whole sequence."""
    states, total = first(model.encoder.cell), 0.0
    for t in range(len(tokens) - 1):
        states = step(
            model.encoder.cell, embed(model, tokens[t : t + 1]), cut(states, t, task.truncation)
        )
        states = constant(states) if task.truncation == 0 else states
        total += error(tokens[t + 1], head(task.readout, states[0], mask))
    return total


def autoencoder_error(model, task, tokens, mask):
    """Dai & Le: the main RNN reads a sequence, then writes it, fed zero and then the truth."""
    states, total = read(model, tokens, len(tokens), task.truncation), 0.0
    for t in range(len(tokens)):
        x = tokens[t - 1 : t] if t else tf.zeros_like(tokens[:1])
        states = step(model.encoder.cell, embed(model, x), cut(states, t, task.truncation))
        states = constant(states) if task.truncation == 0 else states
        total += error(tokens[t], head(task.readout, states[0], mask))
    return total


def auxiliary_loss(model, task, tokens, draws, lengths):
    """Equation 1 over a batch."""
    total, count = 0.0, 0
    for b in range(len(tokens)):
        for i in range(draws.segments.lengths.shape[1]):
            anchor, start, length = (int(field[b, i]) for field in draws.segments)
            feed, uniform = (
                draw[b, i].numpy() if draw.shape[-1] else None
                for draw in (draws.feed, draws.uniform)
            )
            mask = draws.mask[b, i] if draws.mask.shape[-1] else None
            valid = tokens[b][: int(lengths[b])]
            if type(task).__name__ == "LanguageModel":
                total += language_model_error(model, task, valid, mask)
                length = len(valid) - 1
            elif type(task).__name__ == "SequenceAutoencoder":
                total += autoencoder_error(model, task, valid, mask)
                length = len(valid)
            else:
                total += segment_error(
                    model, task, tokens[b], anchor, start, length, feed, uniform, mask
                )
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
