/** One line of the table. What does not apply is null. */
export interface Row {
  readonly measure: string;
  readonly subject: string;
  /** With its unit: `12,300 requests/s`. */
  readonly figure: string;
  /** Between rounds: 0.1 is ± 10 %. */
  readonly spread: number | null;
  /** CPU seconds of all processes of the subject per 100,000 requests. */
  readonly cpuSeconds: number | null;
  /** Microseconds. */
  readonly p50: number | null;
  readonly p99: number | null;
  /** Beside another subject: `0.45 × nginx-lua`. */
  readonly compared: string | null;
  /** What it should be, in words; null for what is only there to compare with. */
  readonly aim: string | null;
  readonly reached: boolean | null;
  /** Why the figure does not count; null when it does. */
  readonly invalid: string | null;
}

/** What stands above the table. */
export interface Circumstances {
  readonly cores: number;
  readonly cpu: string;
  readonly node: string;
  /** Average number of runnable processes of the minute before the bench began. */
  readonly loadBefore: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly quick: boolean;
}

/** Others were using the machine when more than this was running before it began. */
const QUIET_LOAD = 0.5;

const EMPTY: Row = {
  measure: '',
  subject: '',
  figure: '',
  spread: null,
  cpuSeconds: null,
  p50: null,
  p99: null,
  compared: null,
  aim: null,
  reached: null,
  invalid: null,
};

/** A row with what is left out filled in. */
export function row(fields: Pick<Row, 'measure' | 'subject' | 'figure'> & Partial<Row>): Row {
  return { ...EMPTY, ...fields };
}

/** A subject or measure that could not be had, and what to do about it. */
export function leftOut(measure: string, subject: string, why: string): Row {
  return row({ measure, subject, figure: `left out: ${why}` });
}

const HEAD = ['measure', 'subject', 'figure', 'spread', 'CPU s / 100k', 'p50', 'p99', 'compared', 'aim', 'reached'];

/** The whole report: circumstances, and one Markdown table. */
export function markdownReport(circumstances: Circumstances, rows: readonly Row[]): string {
  const lines = rows.map((each) => [
    each.measure,
    each.subject,
    each.figure,
    each.spread === null ? '' : each.spread > 1 ? '> ± 100 %' : `± ${Math.round(each.spread * 100)} %`,
    each.cpuSeconds === null ? '' : each.cpuSeconds.toFixed(2),
    each.p50 === null ? '' : duration(each.p50),
    each.p99 === null ? '' : duration(each.p99),
    each.compared ?? '',
    each.aim ?? '',
    verdict(each),
  ]);
  const table = [HEAD, HEAD.map(() => '---'), ...lines].map((cells) => `| ${cells.map(cell).join(' | ')} |`);
  return `${said(circumstances)}\n\n${table.join('\n')}\n`;
}

function said({ cores, cpu, node, loadBefore, seconds, rounds, quick }: Circumstances): string {
  const turns = `${rounds} ${rounds === 1 ? 'round' : 'rounds'}${quick ? ', quick' : ''}`;
  const load =
    loadBefore > QUIET_LOAD
      ? `**Others were using the machine (load ${loadBefore.toFixed(1)} before the bench began): compare, but do not quote.**`
      : 'The machine was otherwise idle.';
  return `${cores} cores (${cpu}), Node.js ${node}, ${turns}, ${Math.round(seconds)} s in all. ${load}`;
}

function verdict({ invalid, reached }: Row): string {
  if (invalid !== null) return `invalid: ${invalid}`;
  return reached === null ? '' : reached ? 'yes' : '**no**';
}

/** A bar would end the cell, a line break the table. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll(/\s*\n\s*/g, ' ');
}

/** Microseconds for people: `850 µs`, `1.25 ms`, `2.0 s`. */
export function duration(microseconds: number): string {
  if (!Number.isFinite(microseconds)) return '–';
  if (Math.abs(microseconds) < 1_000) return `${Math.round(microseconds)} µs`;
  if (Math.abs(microseconds) < 1_000_000) return `${(microseconds / 1_000).toFixed(2)} ms`;
  return `${(microseconds / 1_000_000).toFixed(1)} s`;
}

/** `12,300`. */
export function count(value: number): string {
  return Number.isFinite(value) ? Math.round(value).toLocaleString('en-US') : '–';
}
