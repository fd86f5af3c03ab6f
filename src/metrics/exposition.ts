/** One line of a family. */
export interface Sample {
  /** Added to the family's name: `_bucket`, `_sum`, `_count`, or nothing. */
  readonly suffix: string;
  /** In the order in which they are printed. Numbers are the bounds of buckets and quantiles. */
  readonly labels: readonly (readonly [name: string, value: string | number])[];
  readonly value: number;
}

/** A family with its samples. The name is the Prometheus one: a counter's ends in `_total`, an info's in `_info`. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary' | 'info';
  /** Of a gauge: what it is for several processes together. */
  readonly across?: Across;
  readonly samples: readonly Sample[];
}

/** How the values that several processes have for a gauge become one. `newest`: all count the same, and one was the last. */
export type Across = 'sum' | 'min' | 'max' | 'newest';

export type MetricsFormat = 'prometheus' | 'openmetrics';

export const CONTENT_TYPES: Readonly<Record<MetricsFormat, string>> = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
};

/**
 * Families as text, in the Prometheus text format 0.0.4 or OpenMetrics 1.0. They differ in the name of the family (OpenMetrics
 * takes `_total` and `_info` for suffixes of the samples), in escapes within HELP, in UNIT and in the closing line.
 */
export function exposition(families: readonly Family[], format: MetricsFormat): string {
  const lines: string[] = [];
  for (const family of families) {
    const { help, type } = family;
    const name = format === 'openmetrics' ? familyName(family) : family.name;
    lines.push(`# HELP ${name} ${escapeHelp(help, format)}`);
    lines.push(`# TYPE ${name} ${format === 'prometheus' && type === 'info' ? 'gauge' : type}`);
    if (format === 'openmetrics' && name.endsWith('_seconds')) lines.push(`# UNIT ${name} seconds`);
    if (format === 'openmetrics' && name.endsWith('_bytes')) lines.push(`# UNIT ${name} bytes`);
    for (const { suffix, labels, value } of family.samples) {
      const pairs = labels.map(([label, text]) => `${label}="${labelText(text)}"`).join(',');
      lines.push(`${family.name}${suffix}${pairs === '' ? '' : `{${pairs}}`} ${numberText(value)}`);
    }
  }
  if (format === 'openmetrics') lines.push('# EOF');
  return `${lines.join('\n')}\n`;
}

/** The same with its media type: the body of an answer. */
export function expositionBody(
  families: readonly Family[],
  format: MetricsFormat,
): { readonly contentType: string; readonly body: string } {
  return { contentType: CONTENT_TYPES[format], body: exposition(families, format) };
}

function familyName({ name, type }: Family): string {
  if (type === 'counter') return name.replace(/_total$/, '');
  if (type === 'info') return name.replace(/_info$/, '');
  return name;
}

function escapeHelp(help: string, format: MetricsFormat): string {
  const escaped = help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return format === 'openmetrics' ? escaped.replaceAll('"', '\\"') : escaped;
}

function labelText(value: string | number): string {
  if (typeof value === 'number') return boundText(value);
  return value.toWellFormed().replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  if (Number.isNaN(value)) return 'NaN';
  return value > 0 ? '+Inf' : '-Inf';
}

/** OpenMetrics, "Considerations: Canonical Numbers": `1.0`, `0.001`, `1e-06`. In both formats, so that both name the same series. */
function boundText(bound: number): string {
  if (!Number.isFinite(bound)) return numberText(bound);
  if (Number.isInteger(bound)) return bound.toFixed(1);
  if (Math.abs(bound) >= 1e-4) return String(bound);
  return bound.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
}

/**
 * The format for an Accept header (RFC 9110 §12.5.1): OpenMetrics where it is named with a weight that no other accepted
 * form exceeds, else the Prometheus text format, which every collector reads.
 */
export function contentTypeFor(accept: string | undefined): MetricsFormat {
  let openmetrics = 0;
  let text = 0;
  for (const range of (accept ?? '').toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    const weight = weightOf(parameters);
    if (type === 'application/openmetrics-text') openmetrics = Math.max(openmetrics, weight);
    else if (type === 'text/plain') text = Math.max(text, weight);
  }
  return openmetrics > 0 && openmetrics >= text ? 'openmetrics' : 'prometheus';
}

function weightOf(parameters: readonly string[]): number {
  const weight = parameters.find((parameter) => parameter.startsWith('q='));
  if (weight === undefined) return 1;
  const value = Number(weight.slice(2));
  return value >= 0 && value <= 1 ? value : 0;
}
