/*
 * `node --import late-timers.ts …`: whether a process that was stopped hears of its timers or of its sockets first when it
 * goes on hangs on where it was stopped. With this it hears of its sockets: from a timer that is late on, all wait.
 */
const LATE_MS = 200;
const WAIT_MS = 300;

type Work = (...args: unknown[]) => void;

const plain = { setTimeout: globalThis.setTimeout, setInterval: globalThis.setInterval };
let waitUntil = Number.NEGATIVE_INFINITY;

function held(work: Work, due: () => number): Work {
  return (...args) => {
    const now = performance.now();
    if (now - due() >= LATE_MS) waitUntil = now + WAIT_MS;
    if (now >= waitUntil) work(...args);
    else plain.setTimeout(work, waitUntil - now, ...args);
  };
}

function heldTimeout(work: Work, ms = 0, ...args: unknown[]): NodeJS.Timeout {
  const due = performance.now() + ms;
  return plain.setTimeout(
    held(work, () => due),
    ms,
    ...args,
  );
}

function heldInterval(work: Work, ms = 0, ...args: unknown[]): NodeJS.Timeout {
  let last = performance.now();
  const due = (): number => {
    const expected = last + ms;
    last = performance.now();
    return expected;
  };
  return plain.setInterval(held(work, due), ms, ...args);
}

Object.assign(globalThis, {
  setTimeout: Object.assign(heldTimeout, plain.setTimeout),
  setInterval: heldInterval,
});
