// The rows of the catalog: their contents and sort keys.

export const table = document.querySelector("#atlas-catalog");
export const heads = [...table.tHead.rows[0].cells];
/** The check boxes of all facets; each row lists the numbers of those that match it. */
export const boxes = [...document.querySelectorAll(".atlas-filter [type=checkbox]")];

export const lines = [...table.tBodies[0].rows].map((row, place) => {
  const has = new Uint8Array(boxes.length);
  for (const one of row.dataset.has.split(" ")) if (one) has[parseInt(one, 16)] = 1;
  const link = row.cells[0].firstElementChild;
  const slug = link.pathname.match(/(\w+)\.html$/)[1];
  return { row, place, has, link, slug, name: link.textContent };
});
export const known = new Map(lines.map(line => [line.slug, line]));

/** The names and indices of the loss columns. */
export const losses = [...heads.entries()].map(([place, head]) => [head.dataset.sort, place])
  .filter(([name]) => name?.startsWith("loss"));
const number = cell => parseFloat(cell.textContent.replaceAll(",", "").replace("∞", "Infinity"));

/** The sort keys: dates newest first, everything else in ascending order. */
export const orders = {
  year: ({ row }) => -Number(row.cells[2].textContent.match(/\d+$/) ?? NaN),
  name: ({ name }) => name,
  venue: ({ row }) => row.cells[2].textContent,
  added: ({ row }) => -Date.parse(row.cells[2].dataset.added),
  ...Object.fromEntries(losses.map(([name, place]) => [name, ({ row }) => number(row.cells[place])])),
};

/** Licences as entries and `papers.csv` spell them. */
const licences = { "no licence": "NONE", "licence unclear": "unclear" };

/** The facts about a paper, for export, comparison and search. */
export function about({ row, slug, name, link }) {
  const [, told, when, , , , code] = row.cells;
  const licence = code.querySelector("i")?.textContent ?? "";
  // A baseline without a paper has no venue, year or authors.
  const [, venue = "", year = ""] = when.textContent.match(/^(.*?) ?(\d+)$/s) ?? [];
  const authors = told.querySelector("p + p") ?? told.querySelector("summary");
  return {
    slug,
    name,
    title: told.querySelector("cite").textContent,
    authors: year && authors.textContent,
    venue,
    year,
    code_license: licences[licence] ?? licence,
    key: row.dataset.key,
    page: link.href,
    method: link.parentElement.querySelector("[href^='leaderboard.html']") !== null,
    losses: losses.map(([, place]) => row.cells[place].firstChild?.textContent ?? ""),
  };
}

/** The documents of the search, one per paper. */
export const documents = () => lines.map(line => {
  const { slug, name, title, authors, venue, year } = about(line);
  const own = boxes.filter((_, place) => line.has[place]);
  return {
    id: slug,
    slug,
    name,
    title,
    authors,
    venue: `${venue} ${year}`.trim(),
    ids: line.row.dataset.names ?? "",
    words: own.map(box => box.nextElementSibling.textContent).join(", "),
    synonyms: own.map(box => box.dataset.synonyms ?? "").join(", "),
    summary: line.row.cells[1].querySelector("p").textContent,
  };
});
