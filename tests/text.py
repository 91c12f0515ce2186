"""Sentences in four languages that the tests make their vocabularies, corpora and requests from."""

SENTENCES = {
    "en": (
        "The capital of Mongolia is Ulaanbaatar.",
        "She reads a book in the garden every morning.",
        "The train to the coast leaves at seven.",
        "Scientists measured the height of the mountain again.",
        "Two teams played football in the rain yesterday.",
        "The government announced a new law about water.",
    ),
    "mn": (
        "Монгол улсын нийслэл бол Улаанбаатар хот.",
        "Тэр өглөө бүр цэцэрлэгт ном уншдаг.",
        "Далайн эрэг рүү явах галт тэрэг долоон цагт хөдөлнө.",
        "Эрдэмтэд уулын өндрийг дахин хэмжив.",
        "Өчигдөр хоёр баг бороонд хөл бөмбөг тоглов.",
        "Засгийн газар усны тухай шинэ хууль зарлалаа.",
    ),
    "ko": (
        "몽골의 수도는 울란바토르이다.",
        "그녀는 매일 아침 정원에서 책을 읽는다.",
        "해안으로 가는 기차는 일곱 시에 떠난다.",
        "과학자들은 산의 높이를 다시 쟀다.",
        "어제 두 팀이 비를 맞으며 축구를 했다.",
        "정부는 물에 관한 새 법을 발표했다.",
    ),
    "kk": (
        "Моңғолияның астанасы — Ұланбатыр.",
        "Ол күн сайын таңертең бақта кітап оқиды.",
        "Жағалауға баратын пойыз сағат жетіде жүреді.",
        "Ғалымдар таудың биіктігін қайта өлшеді.",
        "Кеше екі команда жаңбырда футбол ойнады.",
        "Үкімет су туралы жаңа заң жариялады.",
    ),
}
