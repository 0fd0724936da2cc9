# SPDX-License-Identifier: MIT
"""Does an exact sliding window explain what clients saw?

A log of one client holds, for each request, when it was sent, when its answer was there, and whether it was
admitted. Whoever decided did so at some moment in between. `explain` says whether such moments exist that an exact
window of `limit` admissions in `window` gives the same verdicts: each admission with fewer than `limit` admissions in
the window before it, each refusal with `limit` of them. It finds moments, or proves that there are none.

How. Refusals depend only on the sorted moments a[0] <= a[1] <= ... of the admissions, not on which request had which:

  order    a[k] is not before the k-th smallest sending, nor after the k-th smallest receipt
  window   a[k + limit] >= a[k] + window
  Hall     any q requests that lie within [x, y] need q moments there
  refusal  one that lies within [s, r] needs some k with a[k + limit - 1] <= r and a[k] + window >= s, and
  dense    ... with a[k + limit - 1] <= a[k] + window: the window was full at one moment

Start with the earliest moments that the order allows, and move those that break a rule just as far as every solution
must have them: for the first four rules there is always one such step (it is said at each), so the earliest solution
is found, or none exists. Only `dense` leaves a choice, which is searched; it matters within the width of one
request's interval, so hardly ever.

Times are whole microseconds of one clock, which must be that of who decides: for Redis the real-time clock.
"""
import heapq
from bisect import bisect_left, bisect_right
from collections import namedtuple

Seen = namedtuple("Seen", "sent got admitted")
SEARCH_MAX = 2000    # branches; a log that needs more is undecided, which is never taken for explained


class Verdict:
    """kind: explained | over-admission | false-refusal | undecided. `moments`: of the admissions, when explained."""

    def __init__(self, kind, text="", moments=None):
        self.kind, self.text, self.moments = kind, text, moments

    def __bool__(self):
        return self.kind == "explained"

    def __repr__(self):
        return "<%s%s>" % (self.kind, ": " + self.text if self.text else "")


class Figures(namedtuple("Figures", "admitted refused worst false_refusals")):
    """
    What can be said for sure of any limiter's log. `worst`: so many admissions fell within one window, at the least;
    `false_refusals`: so many refusals came with fewer than `limit` admissions that could have been in the window.
    """


def figures(seen, limit, window):
    admitted = sorted((s for s in seen if s.admitted), key=lambda s: s.sent)
    refused = [s for s in seen if not s.admitted]
    worst, ends = 0, []
    for a in reversed(admitted):    # all sent from here on and answered within a window were in it together
        ends.insert(bisect_left(ends, a.got), a.got)
        worst = max(worst, bisect_right(ends, a.sent + window))
    sendings, answers = sorted(a.sent for a in admitted), sorted(a.got for a in admitted)
    false = sum(bisect_right(sendings, r.got) - bisect_left(answers, r.sent - window) < limit for r in refused)
    return Figures(len(admitted), len(refused), worst, false)


class _Contradiction(Exception):
    pass


class _Undecided(Exception):
    pass


def explain(seen, limit, window):
    """The Verdict on a log of one client: an iterable of Seen (or alike tuples)."""
    seen = [Seen(*s) for s in seen]
    assert all(s.sent <= s.got for s in seen), "a request was answered before it was sent"
    return _Log([s for s in seen if s.admitted], [s for s in seen if not s.admitted], limit, window).decide()


class _Log:
    def __init__(self, admitted, refused, limit, window):
        self.n, self.limit, self.window = len(admitted), limit, window
        self.by_sending = sorted((s.sent, s.got) for s in admitted)
        self.earliest = [s.sent for s in sorted(admitted, key=lambda s: s.sent)]
        self.latest = sorted(s.got for s in admitted)
        self.refused = _narrowest((s.sent, s.got) for s in refused)
        self.branches = 0

    def decide(self):
        """Without an explanation of the admissions alone there were too many; else it is the refusals' fault."""
        at = self.earliest[:]
        try:
            self.settle(at, self.latest, [], [])
        except _Contradiction as c:
            return Verdict("over-admission", str(c))
        try:
            return Verdict("explained", "", self.search(at, self.latest, []))
        except _Undecided as c:
            return Verdict("undecided", str(c))
        except _Contradiction as c:
            return Verdict("false-refusal", str(c))

    def search(self, at, latest, dense):
        """The earliest moments that keep all rules. `dense`: those k for which that rule was chosen."""
        self.settle(at, latest, dense, self.refused)
        broken = self.find_not_dense(at)
        if broken is None:
            return at
        sent, got = broken
        failure = None
        first = bisect_left(latest, sent - self.window)
        last = bisect_right(at, got) - self.limit
        for k in range(last, first - 1, -1):
            self.branches += 1
            if self.branches > SEARCH_MAX:
                raise _Undecided("more than %d cases to look at" % SEARCH_MAX)
            at_k, latest_k = at[:], latest[:]
            at_k[k] = max(at_k[k], sent - self.window)
            end = k + self.limit - 1
            for i in range(end, -1, -1):    # no earlier one may be later
                if latest_k[i] <= got:
                    break
                latest_k[i] = got
            try:
                return self.search(at_k, latest_k, dense + [k])
            except _Contradiction as c:
                failure = failure or c
        raise failure or self.unexplained(sent, got)

    def settle(self, at, latest, dense, refused):
        moved = True
        while moved:
            self.keep_order_and_window(at, latest)
            moved = self.keep_dense(at, dense) or self.keep_hall(at) or self.keep_refusals(at, refused)

    def keep_order_and_window(self, at, latest):
        n, window = self.limit, self.window
        for k in range(self.n):
            t = at[k]
            if k and at[k - 1] > t:
                t = at[k - 1]
            if k >= n and at[k - n] + window > t:
                t = at[k - n] + window
            if t > latest[k]:
                raise _Contradiction("admission %d of %d was not before %d, but answered at %d, %d us early" % (
                    k + 1, self.n, t, latest[k], t - latest[k]))
            at[k] = t

    def keep_dense(self, at, dense):
        moved = False
        for k in dense:
            least = at[k + self.limit - 1] - self.window
            if at[k] < least:
                _move(at, k, least)
                moved = True
        return moved

    def keep_hall(self, at):
        """
        Gives the moments out, each to the request under way that was answered first. One that had to have a moment
        by y and finds none: since the last moment m that a request with a later answer got, all were taken by
        requests sent after m and answered by y, one more than there are moments. Fewer moments can't be before the
        first of their sendings only if m itself is not before it.
        """
        waiting, i, taken = [], 0, []    # taken: (answer, sending) by moment
        for m in range(self.n):
            while i < self.n and self.by_sending[i][0] <= at[m]:
                sent, got = self.by_sending[i]
                heapq.heappush(waiting, (got, sent))
                i += 1
            got, sent = heapq.heappop(waiting)
            if got < at[m]:
                start, before = sent, m - 1
                while before >= 0 and taken[before][0] <= got:
                    start = min(start, taken[before][1])
                    before -= 1
                if before < 0:
                    raise _Contradiction("%d requests from %d to %d were admitted, one more than could be" % (
                        m + 1, start, got))
                _move(at, before, start)
                return True
            taken.append((got, sent))
        return False

    def keep_refusals(self, at, refused):
        """
        Of all k that may explain a refusal the largest has the latest a[k], and as moments only move on, no larger
        one will do later: a[k] is not before sent - window in any solution.
        """
        moved, limit, window = False, self.limit, self.window
        for sent, got in refused:
            k = bisect_right(at, got) - limit
            if k < 0:
                raise self.unexplained(sent, got)
            if at[k] + window < sent:
                if self.latest[k] + window < sent:
                    raise self.unexplained(sent, got)
                _move(at, k, sent - window)
                moved = True
        return moved

    def find_not_dense(self, at):
        limit, window = self.limit, self.window
        starts = [k for k in range(self.n - limit + 1) if at[k + limit - 1] <= at[k] + window]
        for sent, got in self.refused:
            first = bisect_left(at, sent - window)
            i = bisect_left(starts, first)
            if i == len(starts) or starts[i] > bisect_right(at, got) - limit:
                return sent, got
        return None

    def unexplained(self, sent, got):
        count = bisect_right(self.earliest, got) - bisect_left(self.latest, sent - self.window)
        return _Contradiction("refused from %d to %d; %d of %d were admitted near its window" % (
            sent, got, count, self.limit))


def _move(at, k, to):
    """Moves a moment on, and those after it that would be before it."""
    while k < len(at) and at[k] < to:
        at[k] = to
        k += 1


def _narrowest(intervals):
    """Without those that hold another: what explains the inner one explains them too."""
    kept = []
    for sent, got in sorted(set(intervals), key=lambda i: (i[0], -i[1])):
        while kept and kept[-1][1] >= got:
            kept.pop()
        kept.append((sent, got))
    return kept
