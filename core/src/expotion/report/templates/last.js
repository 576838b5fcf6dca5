"use strict";
// Index of the last of increasing times that is not later, a millisecond allowed; -1 before all. The studio's page has it, too.
function last(times, t) {
  let a = 0, b = times.length;
  while (a < b) { const m = (a + b) >> 1; if (times[m] <= t + 1e-3) a = m + 1; else b = m; }
  return a - 1;
}
