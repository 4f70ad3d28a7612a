/**
 * Gives memory back while the manager rests. A burst (hosts that join, a large apply) leaves a heap twice as large as what is in it, and
 * the runtime shrinks it only when it allocates again. Limits on the heap that hold always would cost every question; a collection while
 * nobody waits costs nobody.
 */
import { performance } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const lookEveryMs = 1000;
/** Part of a second's time that the event loop may have worked for the manager to be at rest. */
const restingMax = 0.05;
/** Growth since the last collection that is worth a pause. */
const grownBytesMin = 16 * 2 ** 20;
/** Between two collections, so that a manager that is seldom asked does not spend its life collecting. */
const pauseMs = 5_000;

/** Begins to look; disposing ends it. */
export function releaseIdleMemory(): Disposable {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  let used = performance.eventLoopUtilization();
  let collectedMs = -pauseMs;
  let heldAfter = 0;
  const timer = setInterval(() => {
    const { utilization } = performance.eventLoopUtilization(used);
    used = performance.eventLoopUtilization();
    if (utilization > restingMax || performance.now() - collectedMs < pauseMs) return;
    if (getHeapStatistics().total_heap_size - heldAfter < grownBytesMin) return;
    collect();
    collectedMs = performance.now();
    heldAfter = getHeapStatistics().total_heap_size;
  }, lookEveryMs);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
