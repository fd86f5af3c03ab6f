import { styleText } from 'node:util';

type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow';

/**
 * Where everything that the command line says goes out; nothing else prints. Data goes to stdout, notes and errors to
 * stderr. Colours only where a person looks on, and never with NO_COLOR (no-color.org).
 */
export interface Output {
  /** One line of data. */
  line(text?: string): void;
  /** Text as it is, such as a help page. */
  raw(text: string): void;
  /** A value for machines. */
  json(value: unknown): void;
  /** Columns for people. */
  table(head: readonly string[], rows: readonly (readonly string[])[]): void;
  /** `name  value` lines for people. */
  fields(entries: readonly (readonly [name: string, value: string])[]): void;
  /** A remark beside the data. */
  note(text: string): void;
  rawNote(text: string): void;
  error(text: string): void;
  /** What a long piece of work has come to; seen on a terminal only, and gone after `progress(null)`. */
  progress(text: string | null): void;
  /** Colours `text` for stdout. */
  style(style: Style, text: string): string;
  /** Resolves when nobody reads stdout any more (`| head`). */
  readonly closed: Promise<void>;
}

export function createOutput(env: Readonly<Record<string, string | undefined>>): Output {
  const { stdout, stderr } = process;
  const plain = env['NO_COLOR'] !== undefined && env['NO_COLOR'] !== '';
  const coloured = (stream: NodeJS.WriteStream) => !plain && stream.isTTY === true && env['TERM'] !== 'dumb';
  const paint = (stream: NodeJS.WriteStream, style: Style, text: string): string =>
    coloured(stream) ? styleText(style, text, { validateStream: false }) : text;
  const closed = new Promise<void>((resolve) => {
    stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      resolve();
    });
  });
  const line = (text = ''): void => {
    stdout.write(`${text}\n`);
  };
  return {
    line,
    raw: (text) => {
      stdout.write(text);
    },
    json: (value) => line(JSON.stringify(value, null, 2)),
    table: (head, rows) => {
      for (const row of columns([head, ...rows])) line(row.trimEnd());
    },
    fields: (entries) => {
      const width = Math.max(0, ...entries.map(([name]) => name.length));
      for (const [name, value] of entries) line(`${paint(stdout, 'dim', name.padEnd(width))}  ${printable(value)}`);
    },
    note: (text) => {
      stderr.write(`${text}\n`);
    },
    rawNote: (text) => {
      stderr.write(text);
    },
    error: (text) => {
      stderr.write(`${paint(stderr, 'red', 'portcullis:')} ${text}\n`);
    },
    progress: (text) => {
      if (stderr.isTTY) stderr.write(text === null ? '\r\u001b[K' : `\r\u001b[K${printable(text)}`);
    },
    style: (style, text) => paint(stdout, style, text),
    closed,
  };
}

/** Text from elsewhere as it may stand on a terminal: control characters could steer it (CWE-150). */
export function printable(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const cells = rows.map((row) => row.map(printable));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
}
