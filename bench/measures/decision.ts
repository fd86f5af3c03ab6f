import { join } from 'node:path';
import { type Bench, ROOT, SERVER_CORE } from '../bench.ts';
import { type Row, row } from '../report.ts';
import { median, spread } from '../statistics.ts';

const MEASURE = 'the decision alone';

/** As a goal, microseconds. */
const MOST = 3;

const DECISIONS = 200_000;

/** In a process of its own, which has done nothing else before. */
export async function measureDecision(bench: Bench): Promise<Row[]> {
  const loop = join(ROOT, 'bench/decision-loop.ts');
  const many = bench.options.quick ? DECISIONS / 2 : DECISIONS;
  const rounds: Map<string, number>[] = [];
  for (let round = 0; round < bench.options.rounds; round += 1) {
    const printed = await bench.processes.run(process.execPath, [loop, String(many)], { core: SERVER_CORE });
    rounds.push(new Map(JSON.parse(printed) as [string, number][]));
  }
  return [...(rounds[0]?.keys() ?? [])].map((name) => {
    const each = rounds.map((found) => found.get(name) ?? Number.NaN);
    const middle = median(each);
    return row({
      measure: MEASURE,
      subject: name,
      figure: `${middle.toFixed(2)} µs`,
      spread: spread(each),
      aim: `≤ ${MOST} µs`,
      reached: middle <= MOST,
    });
  });
}
