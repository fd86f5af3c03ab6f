import { type LogPosition, logNumber } from './change-log.ts';

/** Passes hints that every replica has reported a number on to those who wait for it. */
export class ReportHints {
  readonly #waiting = new Set<(number: number) => void>();

  tell(number: number): void {
    for (const hear of this.#waiting) hear(number);
  }

  /** Listens from now on, so that a hint between a look at the registry and the wait is not missed. */
  expect(position: LogPosition): ExpectedHint {
    const { promise, resolve } = Promise.withResolvers<void>();
    const hear = (number: number): void => {
      if (number >= logNumber(position)) resolve();
    };
    this.#waiting.add(hear);
    return {
      within: async (milliseconds) => {
        const timer = setTimeout(resolve, milliseconds);
        await promise;
        clearTimeout(timer);
      },
      end: () => {
        this.#waiting.delete(hear);
      },
    };
  }
}

export interface ExpectedHint {
  /** Resolves when the hint has come, or the time is over. */
  within(milliseconds: number): Promise<void>;
  end(): void;
}
