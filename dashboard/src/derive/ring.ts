/** The newest values of something, oldest first; null is a gap. A new ring each time, so that readers notice. */
export class Ring<T> {
  constructor(readonly size: number, readonly values: readonly (T | null)[] = []) {}

  with(value: T | null): Ring<T> {
    return new Ring(this.size, [...this.values.slice(-(this.size - 1)), value]);
  }
}
