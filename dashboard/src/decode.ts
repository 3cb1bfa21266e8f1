/**
 * Turns JSON of unknown shape into our types, or says where it went wrong.
 *
 * Small functions that check one thing each; `wire.ts` combines them to the shapes of the API. Fields we do
 * not know are left out: a newer daemon may say more. A field that is missing or of another kind is an
 * error that names its path, never a silent `undefined` that shows up three screens later.
 */

export type Decoder<T> = (value: unknown, path: string) => T;

export class DecodeError extends Error {
  override name = "DecodeError";
  constructor(readonly path: string, readonly expected: string, value: unknown) {
    super(`${path}: expected ${expected}, got ${describe(value)}`);
  }
}

function describe(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return `${typeof value} ${JSON.stringify(value).slice(0, 40)}`;
}

export const string: Decoder<string> = (value, path) => {
  if (typeof value !== "string") throw new DecodeError(path, "text", value);
  return value;
};

/** A finite number: JSON has no NaN, and a chart must never see one. */
export const number: Decoder<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new DecodeError(path, "a number", value);
  return value;
};

export const boolean: Decoder<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw new DecodeError(path, "true or false", value);
  return value;
};

/** Whatever it is: for examples that are only shown. */
export const anything: Decoder<unknown> = (value) => value;

export function nullable<T>(inner: Decoder<T>): Decoder<T | null> {
  return (value, path) => (value === null ? null : inner(value, path));
}

/** A field that may be left out. */
export function optional<T>(inner: Decoder<T>): Decoder<T | undefined> {
  return (value, path) => (value === undefined || value === null ? undefined : inner(value, path));
}

/** A field that an older daemon leaves out: absent is the same as null. */
export function absentIsNull<T>(inner: Decoder<T>): Decoder<T | null> {
  return (value, path) => (value === undefined || value === null ? null : inner(value, path));
}

export function oneOf<const T extends string>(...words: T[]): Decoder<T> {
  const known = new Set<string>(words);
  return (value, path) => {
    if (typeof value !== "string" || !known.has(value)) throw new DecodeError(path, `one of ${words.join(", ")}`, value);
    return value as T;
  };
}

export function list<T>(inner: Decoder<T>): Decoder<T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw new DecodeError(path, "a list", value);
    return value.map((each, index) => inner(each, `${path}[${index}]`));
  };
}

export function record<T>(inner: Decoder<T>): Decoder<Record<string, T>> {
  return (value, path) => {
    const found: Record<string, T> = {};
    for (const [key, each] of Object.entries(asObject(value, path))) found[key] = inner(each, `${path}.${key}`);
    return found;
  };
}

/** Every field of `T`, each with its own decoder: leaving one out is a compile error. */
export function object<T extends object>(fields: { [K in keyof T]-?: Decoder<T[K]> }): Decoder<T> {
  const known = Object.keys(fields) as (keyof T & string)[];
  return (value, path) => {
    const source = asObject(value, path);
    const result = {} as T;
    for (const key of known) {
      const decoded = fields[key](source[key], path === "" ? key : `${path}.${key}`);
      if (decoded !== undefined) result[key] = decoded;
    }
    return result;
  };
}

function asObject(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new DecodeError(path || "answer", "an object", value);
  return value as Record<string, unknown>;
}
