//! Products, subscriptions and what they cost.

use vmint_api::{marketplace::v1 as pb, types::v1::Money};

use crate::{
    cli::{MarketCommand, Output},
    client::{Client, Failure, Result, Row, json, request_id, table},
};

const PICOS: i128 = 1_000_000_000_000;

pub(crate) async fn run(client: &Client, command: MarketCommand) -> Result<()> {
    let mut market = client.marketplace();
    match command {
        MarketCommand::Create { title, price, currency } => {
            let request = pb::CreateProductRequest {
                title,
                price_per_hour: Some(money(&price, &currency)?),
                request_id: request_id(),
                ..Default::default()
            };
            let product = market.create_product(request).await?.into_inner().product;
            products(client, &product.into_iter().collect::<Vec<_>>())
        }
        MarketCommand::List => {
            let request = pb::ListProductsRequest { page_size: 1000, ..Default::default() };
            products(client, &market.list_products(request).await?.into_inner().products)
        }
        MarketCommand::Subscribe { product_code, accept_terms } => {
            let request =
                pb::SubscribeRequest { product_code, accept_terms, request_id: request_id() };
            let agreement = market.subscribe(request).await?.into_inner().agreement;
            agreements(client, &agreement.into_iter().collect::<Vec<_>>())
        }
        MarketCommand::Cancel { agreement } => {
            let request =
                pb::CancelAgreementRequest { agreement_id: agreement, request_id: request_id() };
            let agreement = market.cancel_agreement(request).await?.into_inner().agreement;
            agreements(client, &agreement.into_iter().collect::<Vec<_>>())
        }
        MarketCommand::Agreements => {
            let request = pb::ListAgreementsRequest { page_size: 1000, ..Default::default() };
            agreements(client, &market.list_agreements(request).await?.into_inner().agreements)
        }
        MarketCommand::Usage => {
            let request = pb::ListMetersRequest { page_size: 1000, ..Default::default() };
            meters(client, &market.list_meters(request).await?.into_inner().meters)
        }
        MarketCommand::Ledger => {
            let request = pb::ListLedgerEntriesRequest { page_size: 1000, ..Default::default() };
            entries(client, &market.list_ledger_entries(request).await?.into_inner().entries)
        }
        MarketCommand::Audit => {
            let found = market.audit_ledger(pb::AuditLedgerRequest {}).await?.into_inner();
            found.faults.iter().for_each(|fault| println!("fault     {fault}"));
            println!(
                "ledger    {} transactions, {} entries, {} runs open, {} closed: {}",
                found.transactions,
                found.entries,
                found.open_meters,
                found.closed_meters,
                if found.balanced { "balanced" } else { "NOT balanced" },
            );
            if found.balanced { Ok(()) } else { Err(Failure::new("the ledger does not balance")) }
        }
    }
}

/// Prints messages as JSON or one id a line, or hands back that a table is
/// wanted.
fn otherwise<M: prost::Message>(
    client: &Client,
    name: &str,
    found: &[M],
    id: impl Fn(&M) -> String,
) -> Result<bool> {
    match client.output() {
        Output::Json => json(name, found)?,
        Output::Id => found.iter().for_each(|message| println!("{}", id(message))),
        Output::Table => return Ok(false),
    }
    Ok(true)
}

fn products(client: &Client, found: &[pb::Product]) -> Result<()> {
    if otherwise(client, "vmint.marketplace.v1.Product", found, |p| p.product_code.clone())? {
        return Ok(());
    }
    let row = |p: &pb::Product| -> Row {
        vec![
            p.product_code.clone(),
            p.title.clone(),
            p.seller_id.clone(),
            price(p.price_per_hour.as_ref()),
        ]
    };
    table(&["CODE", "TITLE", "SELLER", "PER HOUR"], &found.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn agreements(client: &Client, found: &[pb::Agreement]) -> Result<()> {
    if otherwise(client, "vmint.marketplace.v1.Agreement", found, |a| a.agreement_id.clone())? {
        return Ok(());
    }
    let row = |a: &pb::Agreement| -> Row {
        let state = a.state().as_str_name().trim_start_matches("AGREEMENT_STATE_").to_lowercase();
        vec![
            a.agreement_id.clone(),
            a.product_code.clone(),
            a.buyer_id.clone(),
            state,
            price(a.price_per_hour.as_ref()),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    table(&["ID", "PRODUCT", "BUYER", "STATE", "PER HOUR"], &rows);
    Ok(())
}

fn meters(client: &Client, found: &[pb::Meter]) -> Result<()> {
    if otherwise(client, "vmint.marketplace.v1.Meter", found, |m| m.instance_id.clone())? {
        return Ok(());
    }
    let row = |m: &pb::Meter| -> Row {
        let seconds = match m.stop_time {
            Some(_) => m.billed_seconds.to_string(),
            None => "runs".to_owned(),
        };
        vec![
            m.instance_id.clone(),
            m.run.to_string(),
            m.product_code.clone(),
            m.buyer_id.clone(),
            seconds,
            price(m.amount.as_ref()),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    table(&["INSTANCE", "RUN", "PRODUCT", "BUYER", "SECONDS", "AMOUNT"], &rows);
    Ok(())
}

fn entries(client: &Client, found: &[pb::LedgerEntry]) -> Result<()> {
    let id = |e: &pb::LedgerEntry| e.transaction_id.clone();
    if otherwise(client, "vmint.marketplace.v1.LedgerEntry", found, id)? {
        return Ok(());
    }
    let row = |e: &pb::LedgerEntry| -> Row {
        let time = e.book_time.map(|t| t.to_string()).unwrap_or_default();
        vec![time, e.ledger_account.clone(), price(e.amount.as_ref()), e.cause.clone()]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    table(&["TIME", "ACCOUNT", "AMOUNT", "FOR"], &rows);
    Ok(())
}

/// `0.12` of a currency, exactly.
fn money(text: &str, currency: &str) -> Result<Money> {
    let bad = || {
        Failure::usage(format!("`{text}` is not a price: use digits, such as 0.12"))
            .hint("up to 12 digits may follow the point")
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 12 || !digits(whole) || !digits(fraction) {
        return Err(bad());
    }
    let units = whole.parse().map_err(|_| bad())?;
    let picos = format!("{fraction:0<12}").parse().map_err(|_| bad())?;
    Ok(Money { currency_code: currency.to_owned(), units, picos })
}

/// An amount without the zeros that say nothing.
pub(crate) fn price(money: Option<&Money>) -> String {
    let Some(money) = money else { return "-".to_owned() };
    let total = i128::from(money.units) * PICOS + i128::from(money.picos);
    let (sign, total) = if total < 0 { ("-", -total) } else { ("", total) };
    let fraction = format!("{:012}", total % PICOS);
    let kept = fraction.trim_end_matches('0').len().max(2);
    format!("{sign}{}.{} {}", total / PICOS, &fraction[..kept], money.currency_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_read_back() {
        for (text, shown) in
            [("0.12", "0.12 EUR"), ("0", "0.00 EUR"), ("3.000000000001", "3.000000000001 EUR")]
        {
            assert_eq!(price(Some(&money(text, "EUR").unwrap())), shown);
        }
        let owed = Money { currency_code: "EUR".into(), units: 0, picos: -20_000_000_000 };
        assert_eq!(price(Some(&owed)), "-0.02 EUR");
        for bad in ["", ".5", "1e3", "-1", "0.1234567890123"] {
            assert!(money(bad, "EUR").is_err(), "{bad}");
        }
    }
}
