"""What the site does beyond mkdocs: files of the repository and notebooks become pages, equations MathML."""

import json
from pathlib import Path

from equations import FENCE, InlineEquations
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from notebook_pages import page_of_notebook
from repository_pages import pages_of_repository, with_links_to_pages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [FENCE]}
    config.markdown_extensions.append(InlineEquations())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = repository(config)
    for notebook in sorted((root / "notebooks").glob("*.ipynb")):
        add_notebook(notebook, files, config)
    texts = {file.src_uri: file.content_string for file in files.documentation_pages()}
    included = {file.src_uri for file in files if file.inclusion.is_included()}
    for name, content in pages_of_repository(texts, root, included).items():
        files.append(File.generated(config, name, content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def add_notebook(notebook: Path, files: Files, config: MkDocsConfig) -> None:
    page, pictures = page_of_notebook(json.loads(notebook.read_text()), notebook.stem)
    contents = {f"{notebook.stem}.md": page, notebook.name: notebook.read_bytes(), **pictures}
    for name, content in contents.items():
        files.append(File.generated(config, f"notebooks/{name}", content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    pages = {file.src_uri for file in files if file.inclusion.is_included()}
    return with_links_to_pages(markdown, page.file.src_uri, repository(config), pages)


def repository(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).resolve().parent
