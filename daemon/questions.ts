// How many questions wait at polkit: each may open a dialog, and holds a call for minutes.
import { RequestError } from '../core/wire/errors.js';

const MAX_PER_USER = 4;
const MAX_TOTAL = 64;

export interface Questions {
  /** Counts one more until it is disposed. Throws QuotaExceeded when there are as many already, of the user or of all. */
  begin(payer: number): Disposable;
}

export function countQuestions(): Questions {
  const open = new Map<number, number>();
  let total = 0;

  function add(payer: number, difference: 1 | -1): void {
    const count = (open.get(payer) ?? 0) + difference;
    total += difference;
    if (count === 0) open.delete(payer);
    else open.set(payer, count);
  }

  return {
    begin(payer) {
      const own = open.get(payer) ?? 0;
      if (own >= MAX_PER_USER || total >= MAX_TOTAL) {
        const whose = own >= MAX_PER_USER ? `uid ${payer} has ${own}` : `all users together have ${total}`;
        throw new RequestError('QuotaExceeded', `${whose} questions waiting at polkit`, { hint: 'wait for their answers' });
      }
      add(payer, 1);
      return { [Symbol.dispose]: () => add(payer, -1) };
    },
  };
}
