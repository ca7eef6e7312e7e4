//! The vectors of the published test suite.

const WORDS: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
pub(super) const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFq\
    wAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsbur\
    EDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZb\
    qBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

/// A request of 2015-08-30T12:36Z to `example.amazonaws.com`, as the suite's are.
#[derive(Debug, Clone)]
pub(super) struct Vector {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    /// Beside host and date.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    pub(super) signed: String,
    pub(super) signature: String,
}

type Extra<'a> = &'a [(&'a str, &'a str)];

fn vector(request: (&str, &str, &str), headers: Extra<'_>, body: &str, signature: &str) -> Vector {
    let (method, path, query) = request;
    let mut signed = vec!["host", "x-amz-date"];
    signed.extend(headers.iter().map(|(name, _)| *name));
    signed.sort_unstable();
    signed.dedup();
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Vector {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.iter().map(owned).collect(),
        body: body.to_owned(),
        signed: signed.join(";"),
        signature: signature.to_owned(),
    }
}

/// The vectors by their names in the suite. Those of folded header lines are
/// left out, as HTTP has none any more, and `post-sts-header-after`, whose
/// token is not signed: that is refused here.
#[allow(clippy::too_many_lines)] // one table
pub(super) fn vectors() -> Vec<(&'static str, Vector)> {
    let get =
        |path: &str, query: &str, signature: &str| vector(("GET", path, query), &[], "", signature);
    let post = |query: &str, headers: Extra<'_>, body: &str, signature: &str| {
        vector(("POST", "/", query), headers, body, signature)
    };
    let header =
        |headers: Extra<'_>, signature: &str| vector(("GET", "/", ""), headers, "", signature);
    let all_words = format!("{WORDS}={WORDS}");
    let form = "application/x-www-form-urlencoded";
    let form_utf8 = "application/x-www-form-urlencoded; charset=utf8";
    let odd_query = "%40%23%24%25%5E=&%2B=%2F%2C%3F%3E%3C%60%22%3B%3A%5C%7C%5D%5B%7B%7D";
    let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let post_vanilla = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
    let post_query = "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11";
    vec![
        (
            "get-header-key-duplicate",
            header(
                &[("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1")],
                "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
            ),
        ),
        (
            "get-header-value-order",
            header(
                &[
                    ("my-header1", "value4"),
                    ("my-header1", "value1"),
                    ("my-header1", "value3"),
                    ("my-header1", "value2"),
                ],
                "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
            ),
        ),
        (
            "get-header-value-trim",
            header(
                &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
        ),
        (
            "get-unreserved",
            get(
                &format!("/{WORDS}"),
                "",
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
        ),
        (
            "get-utf8",
            get("/ሴ", "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ),
        ("get-vanilla", get("/", "", vanilla)),
        ("normalize-path/get-relative", get("/example/..", "", vanilla)),
        ("normalize-path/get-relative-relative", get("/example1/example2/../..", "", vanilla)),
        ("normalize-path/get-slash", get("//", "", vanilla)),
        ("normalize-path/get-slash-dot-slash", get("/./", "", vanilla)),
        (
            "get-vanilla-empty-query-key",
            get(
                "/",
                "Param1=value1",
                "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            ),
        ),
        (
            "get-vanilla-query-order-key-case",
            get(
                "/",
                "Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
        ),
        (
            "get-vanilla-query-unreserved",
            get(
                "/",
                &all_words,
                "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
            ),
        ),
        (
            "get-vanilla-utf8-query",
            get("/", "ሴ=bar", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        ),
        ("post-header-key-case", post("", &[], "", post_vanilla)),
        (
            "post-header-key-sort",
            post(
                "",
                &[("my-header1", "value1")],
                "",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
        ),
        (
            "post-header-value-case",
            post(
                "",
                &[("my-header1", "VALUE1")],
                "",
                "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
            ),
        ),
        (
            "post-sts-header-before",
            post(
                "",
                &[("x-amz-security-token", TOKEN)],
                "",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ),
        ("post-vanilla-query", post("Param1=value1", &[], "", post_query)),
        (
            "post-vanilla-query-nonunreserved",
            post(
                odd_query,
                &[],
                "",
                "66c82657c86e26fb25238d0e69f011edc4c6df5ae71119d7cb98ed9b87393c1e",
            ),
        ),
        (
            "post-vanilla-query-space",
            post("p=", &[], "", "e71688addb58a26418614085fb730ba3faa623b461c17f48f2fbdb9361b94a9b"),
        ),
        (
            "post-x-www-form-urlencoded",
            post(
                "",
                &[("content-type", form)],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ),
        (
            "post-x-www-form-urlencoded-parameters",
            post(
                "",
                &[("content-type", form_utf8)],
                "Param1=value1",
                "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
            ),
        ),
    ]
}
