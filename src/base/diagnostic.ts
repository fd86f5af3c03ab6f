/** One thing that is wrong with a file, with its place. `line` and `col` count from 1. */
export interface Diagnostic {
  readonly severity: 'error' | 'warning';
  readonly file: string;
  readonly line: number;
  readonly col: number;
  readonly message: string;
}

/** `file:line:col: message`; warnings say so. */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const { file, line, col, severity, message } = diagnostic;
  return `${file}:${line}:${col}: ${severity === 'warning' ? 'warning: ' : ''}${message}`;
}

export function hasErrors(diagnostics: readonly Diagnostic[]): boolean {
  return diagnostics.some((diagnostic) => diagnostic.severity === 'error');
}

/** By file, then place: the order in which a person works through them. */
export function sortDiagnostics(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  return diagnostics.toSorted(
    (a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : 0) || a.line - b.line || a.col - b.col,
  );
}
