/**
 * Compiles what checks requests and writes replies when a route is first used. There are hundreds of schemas, most of them are not
 * used in an hour, and compiling all took a third of the start. A schema that cannot be compiled would be found late: a test
 * compiles every one of them.
 */
import ajvCompiler from '@fastify/ajv-compiler';
import serializerCompiler from '@fastify/fast-json-stringify-compiler';
import type { FastifySchemaCompiler, FastifySerializerCompiler, FastifySchema } from 'fastify';

type Validate = ReturnType<FastifySchemaCompiler<FastifySchema>>;
type Serialize = ReturnType<FastifySerializerCompiler<FastifySchema>>;

/** For `schemaController.compilersFactory`. @param eager compiles at once, as the framework itself does. */
export function schemaCompilers({ eager = false } = {}) {
  const buildValidator = ajvCompiler();
  const buildSerializer = serializerCompiler();
  return {
    buildValidator: ((...given: Parameters<typeof buildValidator>) => {
      const compile = buildValidator(...given) as FastifySchemaCompiler<FastifySchema>;
      return (route: Parameters<typeof compile>[0]) =>
        eager ? compile(route) : validateLater(() => compile(route));
    }) as unknown as typeof buildValidator,
    buildSerializer: ((...given: Parameters<typeof buildSerializer>) => {
      const compile = buildSerializer(...given) as FastifySerializerCompiler<FastifySchema>;
      return (route: Parameters<typeof compile>[0]) =>
        eager ? compile(route) : serializeLater(() => compile(route));
    }) as unknown as typeof buildSerializer,
  };
}

function validateLater(compile: () => Validate): Validate {
  let compiled: Validate | undefined;
  const validate: Validate = (data) => {
    compiled ??= compile();
    const result = compiled(data);
    // The framework reads the errors from the function that it called.
    validate.errors = compiled.errors ?? null;
    return result;
  };
  return validate;
}

function serializeLater(compile: () => Serialize): Serialize {
  let compiled: Serialize | undefined;
  return (data) => (compiled ??= compile())(data);
}
