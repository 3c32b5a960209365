"""The two attentions, against loops over single numbers."""

import math

import torch
from torch import Tensor

from nerfseg_plugins.gsn.attention import RayAttention, ViewAttention, ViewTransformer, masked_softmax

R, S, V, W = 2, 3, 4, 16


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (R, S, W), (R, S, V, W), (R, S, V, 4)
    queries, views, diff = (torch.randn(shape, generator=generator) for shape in shapes)
    mask = torch.rand(R, S, V, generator=generator) < 0.6
    mask[..., 0] = True
    mask[1, 2] = False  # a point that no view sees
    return queries, views, diff, mask


def test_softmax_over_what_the_mask_lets_through():
    logits = torch.tensor([[1.0, 2.0, 50.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0]])
    mask = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])
    e = math.e
    expected = torch.tensor([[1 / (1 + e), e / (1 + e), 0], [0, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    assert torch.allclose(masked_softmax(logits, mask, dim=1), expected)


def test_view_attention_is_the_loop():
    torch.manual_seed(1)
    attention = ViewAttention(W, dropout=0.0)
    queries, views, diff, mask = inputs()
    found = attention(queries, views, diff, mask)
    for r in range(R):
        for s in range(S):
            query, logits, values = attention.q_fc(queries[r, s]), [], []
            for v in range(V):
                key = attention.k_fc(views[r, s, v])
                position = attention.pos_fc(diff[r, s, v])
                logits.append(attention.attn_fc(key - query + position))
                values.append(attention.v_fc(key) + position)
            total = torch.zeros(W)
            for c in range(W):
                weights = [math.exp(logits[v][c].item()) if mask[r, s, v] else 0.0 for v in range(V)]
                for v in range(V):
                    share = weights[v] / sum(weights) if sum(weights) else 0.0
                    assert math.isclose(float(found.weights[r, s, v, c]), share, abs_tol=1e-6)
                    total[c] += share * values[v][c].detach()
            assert torch.allclose(found.tokens[r, s], attention.out_fc(total), atol=1e-5)


def test_ray_attention_is_the_loop():
    torch.manual_seed(2)
    attention, x = RayAttention(W, heads=4, dropout=0.0), torch.randn(R, S, W)
    found = attention(x)
    for r in range(R):
        q, k, v = (layer(x[r]) for layer in (attention.q_fc, attention.k_fc, attention.v_fc))
        for s in range(S):
            result = []
            for head in range(4):
                part = slice(4 * head, 4 * head + 4)
                scores = [math.exp(float(q[s, part] @ k[t, part]) / 2) for t in range(S)]
                shares = [score / sum(scores) for score in scores]
                assert torch.allclose(found.weights[r, head, s], torch.tensor(shares), atol=1e-5)
                result.append(sum(share * v[t, part] for t, share in enumerate(shares)))
            assert torch.allclose(found.tokens[r, s], attention.out_fc(torch.cat(result)), atol=1e-5)


def test_the_order_of_views_does_not_matter():
    torch.manual_seed(3)
    attention = ViewTransformer(W, dropout=0.0)
    queries, views, diff, mask = inputs()
    order = torch.tensor([2, 0, 3, 1])
    first = attention(queries, views, diff, mask)
    second = attention(queries, views[:, :, order], diff[:, :, order], mask[:, :, order])
    assert torch.allclose(first.tokens, second.tokens, atol=1e-6)
    assert torch.allclose(first.weights[:, :, order], second.weights, atol=1e-6)


def test_views_that_do_not_see_a_point_have_no_influence():
    torch.manual_seed(4)
    attention = ViewTransformer(W, dropout=0.0)
    queries, views, diff, mask = inputs()
    views.requires_grad_()
    found = attention(queries, views, diff, mask).tokens
    changed = torch.where(mask[..., None], views, views * 100 + 7)
    assert torch.equal(attention(queries, changed, diff, mask).tokens, found)
    found.square().sum().backward()
    assert views.grad is not None
    assert torch.equal(views.grad[~mask], torch.zeros_like(views.grad[~mask]))
    assert views.grad[mask].abs().sum(-1).min() > 0


def test_a_point_that_no_view_sees():
    torch.manual_seed(5)
    attention = ViewAttention(W, dropout=0.0)
    queries, views, diff, mask = inputs()
    found = attention(queries, views, diff, mask & False)
    assert torch.equal(found.weights, torch.zeros(R, S, V, W))
    assert torch.allclose(found.tokens, attention.out_fc.bias.expand(R, S, W))
    (gradient,) = torch.autograd.grad(found.tokens.sum(), attention.attn_fc[0].weight)
    assert torch.isfinite(gradient).all()
