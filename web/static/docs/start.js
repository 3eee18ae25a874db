/** Draws the API's documentation: the document of the server, and one route for each model that it serves now. */

const ROOT = new URL("../..", import.meta.url).pathname.slice(0, -1); // where the installation begins on its host
const PREDICT = "/api/v1/predict/{model}";

const [description, models] = await Promise.all([fetched("/openapi.json"), fetched("/api/v1/models").catch(() => ({ models: [] }))]);
for (const model of models.models) addModel(description, model);

SwaggerUIBundle({
  spec: description,
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  persistAuthorization: false, // a key stays out of the browser's storage
  validatorUrl: null, // by default Swagger UI loads a badge from another site
});

async function fetched(path) {
  const answer = await fetch(ROOT + path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/** A route for one model: `predict` with the model's parameters in the query. */
function addModel({ paths, components }, { name, title, intended_use, params }) {
  const { $defs = {}, properties = {} } = params;
  Object.assign(components.schemas, $defs);
  const general = paths[PREDICT].post;
  const own = Object.entries(properties).map(([field, schema]) => parameterOf(field, schema));
  paths[`/api/v1/predict/${name}`] = {
    post: {
      ...general,
      tags: ["models"],
      operationId: `predict_${name}`,
      summary: title,
      description: intended_use,
      parameters: [...general.parameters.filter((parameter) => parameter.in !== "path"), ...own],
    },
  };
}

function parameterOf(name, { description, title, ...schema }) {
  const shown = JSON.parse(JSON.stringify(schema).replaceAll("#/$defs/", "#/components/schemas/"));
  return { name, in: "query", required: false, description: [title, description].filter(Boolean).join(": "), schema: shown };
}
