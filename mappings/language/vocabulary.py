"""What retail systems call things: words of six languages and the abbreviations of SAP, by what they mean. Data for proposals, no logic.

A *concept* is what several words mean. A field's name is taken apart into words and these into concepts (`likeness`); a canonical field is
described by the concepts that name it (`MEANINGS`). To teach a proposal a new word, add it to its concept's line.
"""

from __future__ import annotations

from typing import Final

WORDS: Final = """
product      : product article artikel material item ware prd prod produkt produit producto articulo artigo vare varer produto
               goods plu style
number       : number nr no num id identifier code ident key nummer numero numéro kode codigo clave uid guid cod n° handle increment
sku          : sku
gtin         : gtin ean barcode upc ean13 ean8 ean11 gencod strichcode codebarre streepjescode stregkode codigobarras gtin13
name         : name title label titel bezeichnung designation libelle libellé benennung nombre naam navn omschrijving kurztext bez maktx
description  : description desc beschreibung descripcion beschrijving beskrivelse langtext longtext details
brand        : brand marke manufacturer hersteller marque marca merk maerke fabrikant fabricante
category     : category categories kategorie categorie categoria warengruppe merchandise group gruppe groupe grupo groep gruppe department
unit         : unit uom einheit mengeneinheit me unite unidad eenheid enhed vrkme measure
quantity     : quantity qty menge quantite quantité cantidad hoeveelheid antal aantal amount_of count anzahl qte stk mængde
stock        : stock inventory bestand lager vorrat inventaire existencias inventario voorraad lagerbestand beholdning lagerbeholdning
on_hand      : onhand physical instock free unrestricted labst verfuegbar_frei vrij disponible_fisico
available    : available availability atp salable sellable verfuegbar verfügbar disponible beschikbaar tilgaengelig disponibilite
reserved     : reserved reservation reserviert reserve reservado gereserveerd reserveret allocated hold held
committed    : committed ordered open demand bestellt commande_client pedido_cliente besteld bestilt offen backlog
incoming     : incoming onorder inbound transit transfer zulauf expected inkoop unterwegs arrivage llegada onderweg
damaged      : damaged defective blocked gesperrt beschadigt endommage danado skadet sperrbestand
quality      : quality inspection pruef qualitaet qualite calidad kwaliteit kvalitet
safety       : safety minimum reorder sicherheit mindest securite seguridad veiligheid threshold
location     : location store site plant warehouse shop branch filiale werk lagerort depot magasin tienda winkel butik source
               outlet almacen
               magazijn entrepot standort lokation markt
order        : order auftrag bestellung commande pedido ordre bestelling salesorder vbeln encargo
document     : document beleg doc voucher bilag piece documento
reference    : reference ref external clientref purchase yourreference otherreference referenz referencia referentie bstnk bstkd xref
line         : line position pos row zeile ligne linea regel linje posten entry
price        : price preis prix precio prijs pris rate tarif kbetr netpr
total        : total sum summe gesamt totaal grand gesamtsumme suma somme grandtotal netwr
amount       : amount betrag montant importe bedrag beloeb belob value wert valor waarde montante
currency     : currency ccy cur waehrung währung devise moneda valuta waers curr divisa
net          : net netto hors ht
gross        : gross brutto ttc incl
tax          : tax vat mwst steuer tva iva btw moms ust
discount     : discount rabatt remise descuento korting rabat
customer     : customer client person people persona personne personen kunde debtor kunnr buyer klant
               cliente debitor kontakt contact debiteur acheteur
email        : email mail courriel correo
phone        : phone telephone tel telefon telefono telefoon mobile cell tlf telf1
first        : first given vorname prenom fornavn voornaam pila firstname
last         : last family surname nachname apellido efternavn achternaam lastname familyname
company      : company firma organisation organization societe empresa bedrijf virksomhed entreprise
language     : language lang locale sprache langue idioma taal sprog spras
address      : address adresse direccion adres anschrift addr
street       : street strasse straße rue calle straat gade vej stras line1 address1 addressline
zip          : zip postcode zipcode postalcode plz postnummer pstlz codepostal cp
city         : city town ort stadt ville ciudad stad by ort01 municipality plaats
region       : region state_region county province bundesland provincia regio bundesstaat
country      : country land pays pais iso_land countrycode land1
status       : status state zustand stand etat estado toestand tilstand stat lifecycle
type         : type kind typ art soort tipo genre vkz klasse
active       : active enabled aktiv actif activo actief accessible salable_flag visible isactive
deleted      : deleted disabled inactive geloescht loekz lvorm loevm blocked_flag supprime archived discontinued verwijderd
date         : date stichtag datum day fecha dato dat tag jour
time         : time uzeit zeit uhrzeit heure hora tijd tid timestamp datetime at utc instant stamp
created      : created placed ordered_at erstellt angelegt cree creado aangemaakt oprettet erdat
counted      : counted snapshot gezaehlt inventaire geteld contado
changed      : changed updated modified geaendert modifie modificado gewijzigd aendret last_change
valid        : valid gueltig valide valido geldig gyldig effective
from         : from begin start since ab von desde vanaf fra depuis beginning
until        : until end to thru bis hasta tot til expires fin expiry ending
delivery     : delivery shipping shipment shipto ship lieferung livraison entrega levering delivered versand envio verzending forsendelse
billing      : billing invoice bill rechnung facture factura factuur faktura billto
method       : method mode means methode metodo art_weise methode carrier
payment      : payment tender zahlung paiement pago betaling pay
reason       : reason grund motif motivo reden aarsag cause abgru
note         : note comment remark text bemerkung hinweis remarque nota opmerking bemaerkning message
channel      : channel kanal canal
zone         : zone timezone zeitzone tz fuseau
weight       : weight gewicht poids peso vaegt
per          : per basis kpein priceunit
last4        : last4 lastfour
token        : token
provider     : psp provider gateway transaction
session      : session sessionid sid
guest        : guest gast invite invitado gaest
wanted       : requested desired gewuenscht souhaite
till         : till workstation register kasse pos_terminal caisse caja kassa terminal
operator     : operator cashier bediener kassierer caissier cajero
sequence     : sequence seq bon receipt bonnr beleg_nr ticket
business     : business
regular      : regular list base normal standard uvp recommended sales
special      : special sale promo promotion action angebot aktion sonder
cost         : cost einkauf purchase_price kost
sent         : sent
next         : next cursor continuation
cart         : cart shopping basket warenkorb panier carrito winkelwagen kurv
limit        : limit max maximum pagesize size
restriction  : restriction age minimum_age
flag         : flag is has
"""
"""Concept : words, in lower case and without accents (those that have some are folded when read)."""

CODES: Final = """
matnr    : product number          padded
artnr    : product number
meins    : unit
vrkme    : unit
kmein    : unit
werks    : location number
wrkst    : location number
lgort    : bin
labst    : stock on_hand
clabs    : stock on_hand
umlme    : stock incoming
insme    : stock quality
speme    : stock damaged
einme    : stock restricted
kwmeng   : quantity
menge    : quantity
bstmg    : quantity
kunnr    : customer number         padded
kunag    : customer number         padded
vbeln    : order document number
aufnr    : order number
bstnk    : order reference number
bstkd    : order reference number
ihrez    : reference
posnr    : line number             padded6
netpr    : price unit_value
netwr    : total amount
kbetr    : price amount
konwa    : currency
waers    : currency
waerk    : currency
kpein    : per quantity
kschl    : price type
datab    : valid from date
datbi    : valid until date
erdat    : created date
erzet    : created time
budat    : business date
audat    : created date
edatu    : wanted delivery date
vdatu    : wanted delivery date
auart    : order type
abgru    : reason
ean11    : gtin
ean13    : gtin
mtart    : product type
matkl    : category number
wgbez    : category name
maktx    : product name
maktg    : product name
spras    : language
mstae    : product status
mmsta    : product status
lvorm    : deleted
loevm    : deleted
name1    : name
name2    : name second
stras    : street
pstlz    : zip
ort01    : city
land1    : country
regio    : region
smtpaddr : email
telf1    : phone
ktokd    : customer type
gbstk    : order status
lfstk    : delivery status
bukrs    : company number
vkorg    : channel
vtweg    : channel
mwskz    : tax type
vlfkz    : location type
kasse    : till number
bonnr    : sequence number
sku      : product number
plu      : product number
gtin     : gtin
uom      : unit
ccy      : currency
mrp      : price regular
rrp      : price regular
msrp     : price regular
atp      : available quantity
soh      : stock on_hand
po       : reference
instock  : stock on_hand
onhand   : stock on_hand
onorder  : stock incoming
qoh      : stock on_hand
vornam   : first name
vorname  : first name
nachname : last name
prenom   : first name
forename : first name
surname  : last name
firstname: first name
lastname : last name
fornavn  : first name
efternavn: last name
voornaam : first name
achternaam : last name
kundennr : customer number
debtor   : customer
"""
"""A whole word that stands for several concepts. `padded`: numeric values are kept with leading zeros, up to the field's length (or the
number of digits behind the word)."""

LIGHT: Final = frozenset(["number", "name", "amount", "type", "date", "time", "quantity", "unit", "status", "code", "data", "line"])
"""Concepts that many fields share: they say less than others."""

SILENT: Final = frozenset(
    [
        "get",
        "the",
        "of",
        "a",
        "an",
        "de",
        "la",
        "le",
        "das",
        "der",
        "die",
        "el",
        "value",
        "values",
        "field",
        "data",
        "info",
        "text",
        "entity",
        "result",
        "response",
        "request",
        "return",
        "record",
        "object",
        "array",
        "t",
        "e",
        "i",
        "z",
        "is",
        "has",
        "struct",
        "bean",
        "dto",
        "vo",
        "rest",
        "api",
        "v1",
        "v2",
        "v3",
        "admin",
        "soap",
        "ws",
        "service",
        "catalog",
        "sales",
        "and",
        "or",
        "my",
    ]
)
"""Words that say nothing at all."""

MEANINGS: Final = """
sku                     : product number, sku, product 0.8, number 0.55, product name 0.3
location_id             : location number, location, location name 0.4
requested_location_id   : location number, location 0.95
on_hand                 : stock on_hand, on_hand, stock quantity 0.95, quantity 0.8, stock 0.8, available quantity 0.5
available               : available quantity, available, available stock
committed               : committed quantity, committed, stock committed
reserved                : reserved quantity, reserved, stock reserved
incoming                : stock incoming, incoming quantity, incoming
damaged                 : damaged quantity, damaged, stock damaged
quality_control         : stock quality, quality quantity
safety_stock            : safety stock, safety quantity
as_of                   : stock date, counted time, counted date, counted, date, time, changed date 0.8, changed time 0.8, changed 0.7
InventoryLevel.sku      : product number, sku, product 0.75
Product.name            : product name, name, description 0.5
Product.description     : description, product description
Product.base_unit       : unit, unit number 0.8, product unit
Product.active          : active, product active, status 0.6, product status 0.65, deleted 0.75
Location.active         : active, status 0.6, deleted 0.75
brand                   : brand, brand name
category_path           : category name, category, category number 0.4
gtin                    : gtin, gtin number
gtins                   : gtin
tax_class               : tax type, tax category
Product.sku             : product number, sku, number 0.8, product 0.7
sold_by                 : sold_by
value                   : price, price amount, price value, special price 0.6, regular price 0.9
price_type              : price type
per                     : per quantity, per
country                 : country, country number
valid_from              : valid from date, valid from, from date 0.9, from 0.8
valid_until             : valid until date, valid until, until date 0.9, until 0.8
channel                 : channel, channel number
tax_included            : tax gross, gross
number                  : location number, number 0.85, location 0.7
Location.name           : location name, name
Location.type           : location type, type 0.85
time_zone               : zone
store_time_zone         : zone, location zone 0.55
currency_code           : currency, currency number
gln                     : gln, gln number
customer_number         : customer number, customer, number 0.7
email                   : email, customer email, email address
first_name              : first name, first
last_name               : last name, last
company_name            : company name, company, customer company
phone                   : phone, phone number, customer phone
locale                  : language
is_guest                : guest
address                 : address
addresses               : address, delivery address 0.9, billing address 0.8
shipping_address        : delivery address, delivery, address 0.8
Address.name            : name, address name, customer name 0.8
street                  : street, address 0.7, street address
postal_code             : zip, zip number
city                    : city, city name
region                  : region, region name
external_id             : order number, order document number, order 0.75, number 0.7, document number 0.7
OrderCancellation.external_id : order number, order document number, order 0.8, number 0.8, document number 0.8
order_number            : order reference number, order reference, reference number, reference, customer reference 0.9
OrderReference.order_number : order reference number, order reference, reference number, reference, order number 0.7
ExternalOrder.external_id : order number, order document number, order 0.85, number 0.85
OrderReceipt.state      : order status, status, status order
OrderProgress.order_state : order status, status
OrderProgress.shipment_state : delivery status, delivery, status 0.62
total_price             : total amount, total, order total, total price, order amount 0.8, amount 0.5
placed_at               : created date, created time, created, order date, date 0.8, wanted delivery date 0.6
lines                   : line, line product 0.95, product 0.8, order line, order product 0.8
payments                : payment
fulfilments             : delivery, fulfilment
line_number             : line number, line, sequence number 0.6, number 0.6
quantity                : quantity, quantity ordered, product quantity, committed quantity 0.9
unit_price              : price, price unit_value, unit price, price amount
OrderLine.name          : product name, name, description 0.8
OrderLine.total_price   : line total, total amount, total, total price
fulfilment_method       : delivery method, delivery type 0.8, delivery 0.6
purchase_order_number   : reference purchase order
customer.name           : customer name, name 0.7
customer.email          : email, customer email
payment_id              : payment number
tender_type             : payment method, payment type, method 0.85, type 0.7
amount_planned          : payment amount, amount 0.9
psp_reference           : provider reference, provider number, reference 0.7
last4                   : last4
token                   : token
reason                  : reason, note 0.75
after                   : next, next number, from 0.6, after, product from
limit                   : limit
workstation_id          : till number, till
business_date           : business date, date 0.7
sequence_number         : sequence number, sequence
Fulfilment.id           : delivery number, order number 0.6, number 0.5
Fulfilment.method       : delivery method, method, mode
Fulfilment.location_id  : location number, location
Fulfilment.status       : delivery status, status
transaction_type        : type, sale type, transaction type
begin_at                : begin time, from time, from, begin, time 0.7, date 0.6
end_at                  : until time, until, end
operator_id             : operator number, operator
receipt_number          : receipt number, sequence number 0.6
till_id                 : till number, till
store_number            : location number, location, store
item_id                 : product number, product
gtin_line               : gtin
units                   : quantity, unit quantity
actual_unit_price       : price, unit price
extended_amount         : amount, total, line total
line_type               : type, kind
SaleDiscount.amount     : discount amount, discount
SaleTax.amount          : tax amount, tax
SaleTax.rate            : tax price, tax percent
SaleTax.taxable_amount  : tax basis, net amount 0.8
skus                    : product number, product, sku
pairs                   : product number, product
"""
"""Canonical field (or Noun.field, which is looked at first) : the concepts that name it, best first; a number behind them is
               their weight."""

VERBS: Final = """
read   : get read info lookup retrieve fetch show holen lesen lire leer obtener lezen hent laes detail details data bapi getdetail status
find   : find search query list all select suchen chercher buscar zoeken find_by getlist finden soeg by
create : create add new insert place submit post make register anlegen creer crear aanmaken opret createfromdata fromdat book simulate
change : update set change modify edit put patch assign multi
cancel : cancel annul void storno stornieren annuler cancelar annuleren annuller
delete : delete remove loeschen unassign supprimer borrar drop destroy
other  : send export import upload download print notify comment invoice capture upgrade archive connect login logout logon ship
               refund hold unhold
         approve confirm reject pdf count
"""
"""What an operation does, by the words of its name; the method of an HTTP operation says it besides."""

TASKS: Final = """
location.list        : find read : location, location stock, location list 0.9, zone 0.3
product.list         : find      : product
product.read         : read find : product, product number
price.read           : read find : price, product price, price special 0.9, product 0.5
inventory.levels     : read find : stock, stock product, stock location 0.9, stock available, available, product 0.45
order.create         : create    : order, order cart 0.9, order draft 0.9
order.find           : find read : order
order.progress       : read find : order
order.cancel         : cancel    : order
order.book           : create    : order, order cart 0.9, order draft 0.9
order.find_booking   : find read : order
order.cancel_booking : cancel    : order
customer.read        : read find : customer, customer number
"""
"""Capability : what the operation does, best first : what it is about."""

CASES: Final = """
order_state      : open = new open pending created received hold onhold draft neu offen waiting entered
                   confirmed = accepted confirmed processing picking packed dispatched shipped released approved inprogress
               bestaetigt partial
                   complete = done complete completed closed delivered fulfilled finished erledigt termine
                   cancelled = cancelled canceled cancel storniert annulled annule voided void rejected
shipment_state   : pending = new open pending created accepted received picking processing hold onhold confirmed
                   ready = packed ready readyforpickup
                   partial = partial partially partiallyshipped
                   shipped = shipped dispatched sent intransit complete
                   delivered = delivered done closed collected
                   cancelled = cancelled canceled storniert void rejected
status           : scheduled = new scheduled planned
                   open = accepted open pending
                   in_progress = picking packed processing inprogress
                   closed = done dispatched shipped closed complete delivered
                   on_hold = hold onhold
                   cancelled = cancelled canceled
type             : store = store shop filiale outlet branch retail magasin tienda winkel butik
                   warehouse = warehouse dc distribution depot lager entrepot almacen magazijn
                   collection_point = pickup collect locker
tender_type      : card_credit = card creditcard credit visa kreditkarte
                   card_debit = debit debitcard ec
                   cash = cash bar contant kontant especes
                   gift_card = gift giftcard geschenk
                   voucher = voucher coupon gutschein
                   store_credit = storecredit credit_note
                   account = invoice account rechnung onaccount
                   wallet = wallet paypal applepay googlepay
                   other = other
transaction_type : sale = sale s sell verkauf
                   return = return r refund retoure
                   exchange = exchange x umtausch
                   post_void = void v postvoid storno
                   control = control c
fulfilment_method: delivery = home delivery ship shipping standard
                   scheduled_delivery = scheduled
                   pickup_in_store = clickcollect click collect pickup store pickupinstore
                   collection_point = locker collectionpoint
method           : delivery = home delivery ship shipping standard
                   pickup_in_store = clickcollect click collect pickup store
active           : True = active enabled a new y yes 1 available valid
                   False = inactive disabled deleted discontinued x n no 0 blocked archived
is_guest         : True = guest gast
                   False = active registered member customer
price_type       : regular = regular base normal standard list
                   sale = sale special promo promotion action offer
base_unit        : EA = pce pc st ea each piece stk un
                   KGM = kg kgm kilogram
                   GRM = g grm gram
                   LTR = l ltr liter litre
                   MTR = m mtr meter
unit             : EA = pce pc st ea each piece stk un
                   KGM = kg kgm kilogram
                   GRM = g grm gram
                   LTR = l ltr liter litre
                   MTR = m mtr meter
locale           : de = d de ger deu
                   en = e en eng
                   fr = f fr fra
                   es = s es spa
                   nl = n nl dut
                   da = k da dan
line_type        : sale = sale s
                   return = return r
channel          : web = web online www shop_online internet
                   mobile = mobile app
                   store = store shop pos instore
                   call_centre = phone call callcentre telephone
                   marketplace = marketplace mktpl market
"""
"""Canonical field with a closed list : value = codes that systems use for it."""
