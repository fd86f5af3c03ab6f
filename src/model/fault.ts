/** A failure that no caller expects: thrown, mapped to a bland answer in one place per listener. */
export const FAULT_CODES = ['store_unavailable', 'store_full', 'audit_unavailable', 'conflict', 'internal'] as const;
export type FaultCode = (typeof FAULT_CODES)[number];

export class Fault extends Error {
  readonly code: FaultCode;
  constructor(code: FaultCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'Fault';
    this.code = code;
  }
}
