"""Forward passes over what teaches: no padding that no row needs, no row that no gradient comes from."""
