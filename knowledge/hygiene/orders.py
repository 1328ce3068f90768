"""How texts give an assistant orders, as patterns over folded text; every repetition is bounded."""

import re
from enum import StrEnum

_AI = r"(?:ai|人工智能|智能助手|智能体|助手|大模型|语言模型|模型|机器人|chatgpt|gpt|claude|deepseek|llm|豆包|通义千问|文心一言|kimi)"
_EARLIER = r"(?:以上|上面|上述|上文|之前|先前|此前|前面|前述|前文|先前的|在此之前|到目前为止)"
_EVERY = r"(?:所有|全部|一切|任何|原有|原来|原先|既有|已有|系统|你的|你被|你收到|开发者|安全|预设|内置|默认)"
_RULES = r"(?:指令|指示|提示词|提示语|系统提示|prompt|设定|命令|约束|限制|规则|规矩|安全策略|准则|instructions?)"
_SAID = r"(?:要求|内容|规定|对话|消息|信息|资料|说明|上下文|来源|身份|话|文字|一切|教导|训练|约定)"
_DROP = r"(?:忽略|忽视|无视|忘记|忘掉|忘了|忘却|抛开|抛弃|丢掉|丢弃|不要理会|不用理会|不必理会|别理会|不要遵守|不必遵守|不用遵守|不再遵守|停止遵守|不要遵循|停止遵循|不再遵循|不要管|不用管|别管|别理|跳过|绕过|绕开|覆盖|推翻|取代|废除|作废|清除|清空|违反|违背|突破|解除|撤销|放弃|删除)"
_BEGINS = r"(?:^|[\n。.!?;:,\"'“”「『(\[#>*\-]\s?|请|务必|必须|现在|立即|马上|首先|你要|你应|你需|你得|你可以|并|先)"
_SEND = r"(?:发送?(?:到|给|至|往)|上传(?:到|至|给)?|post ?(?:到|至)|提交(?:到|至|给)|转发(?:到|给|至)|传(?:到|给|至)|外传|外发|推送(?:到|给|至)|拼(?:到|接到|在)|附(?:到|在))"
_TO = r"(?:https?:|[\w.+-]{1,40}@[\w-]{1,40}\.|[\w-]{1,40}\.(?:com|cn|net|io|org|xyz|top|example)\b|外部|我的服务器|以下(?:网址|地址|邮箱|链接)|下面的?(?:网址|地址|邮箱|链接)|webhook)"
_SECRETS = r"(?:对话|聊天记录|会话|上下文|客户(?:名单|资料|数据|信息|电话|联系方式|手机号|列表)|(?:全部|所有|每个|每一个)(?:客户|数据|资料|联系人|报价|商机|记录)|底价|成本价|密钥|密码|口令|令牌|提示词|内部资料|通讯录|身份证)"
_PROMPT = r"(?:系统提示词?|系统指令|系统消息|提示词|初始指令|初始设定|隐藏指令|内部指令|内部规则|开发者消息|你的(?:[^。\n]{0,4})(?:指令|设定|规则|提示|密钥|密码|配置)|system ?prompt|api ?key|api ?密钥|你(?:收到|得到|获得|接到|拿到|被告知|被给予)[^。\n]{0,6}?(?:指令|指示|提示|规则|要求|消息)|数据库密码|访问令牌|(?:上面|以上|之前)的?(?:指令|规则|提示))"
_SHOW = r"(?:输出|显示|打印|复述|重复|泄露|泄漏|透露|公开|告诉我|告诉用户|给出|展示|列出|说出|翻译|总结|返回|导出|交出|写出|贴出|背出|念出|逐字|原样|提供)"

_EN_DROP = r"(?:ignore|disregard|forget|override|bypass|neglect|overrule|overwrite|(?:do not|don't|never|no longer) (?:follow|obey|comply with|listen to)|stop (?:following|obeying)|set aside|discard|erase|violate|pay no attention to|circumvent|drop)"
_EN_WHICH = r"(?:previous|previously|prior|above|earlier|preceding|foregoing|existing|original|initial|system|developer|safety|your|all|any|these|those|other|current|former|past)"
_EN_RULES = r"(?:instructions?|prompts?|directives?|commands?|guardrails?|programming|system messages?)"
_EN_SAID = r"(?:rules?|guidelines?|directions?|constraints?|restrictions?|context|messages?|training|safeguards?|polic(?:y|ies)|sources?|citations?|text|content|conversation)"
_EN_AI = r"(?:ai|a\.i\.|ai assistant|assistant|chatbot|language model|llm|llms|large language model|dan|gpt|chatgpt|claude|bot)"
_EN_SECRETS = r"(?:conversation|chat (?:history|log)|context|(?:customer|client|lead)s? (?:data|lists?|records?|names?|details|phones?|contacts?|information)|(?:all|every) (?:the )?(?:data|records?|customers?|contacts?|quotes?|prices?|leads?|deals?)|credentials|passwords?|api keys?|system prompt|floor prices?)"
_EN_PROMPT = r"(?:system prompts?|hidden prompts?|initial prompts?|prompt verbatim|your (?:\w{1,15} ){0,2}(?:instructions?|prompts?|rules|system message|secrets)|system messages?|developer messages?|(?:instructions?|text|words|everything) above|previous instructions?)"
_EN_SHOW = r"(?:reveal|print|show|output|repeat|display|leak|disclose|expose|tell (?:me|us|the user)|return|dump|give me|write out|recite|share|send|summari[sz]e|echo|translate|quote)"
_W = r"(?:[\w'-]{1,20} )"


class Order(StrEnum):
    """What a text asks of the assistant."""

    OVERRIDE = "OVERRIDE"
    ROLE = "ROLE"
    ADDRESS = "ADDRESS"
    DISCLOSURE = "DISCLOSURE"
    TOOL_CALL = "TOOL_CALL"


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


ORDERS: dict[Order, re.Pattern[str]] = {
    Order.OVERRIDE: _any(
        rf"{_DROP}(?:掉|了)?(?:[^。!?;\n]{{0,6}}?)(?:{_EARLIER}|{_EVERY})[^。!?;\n]{{0,8}}?{_RULES}",
        rf"{_BEGINS}{_DROP}(?:掉|了)?(?:你)?(?:所有|全部|一切)?{_EARLIER}[^。!?;\n]{{0,6}}?{_SAID}",
        rf"{_BEGINS}{_DROP}(?:掉|了)?(?:你)?(?:{_EVERY})[^。!?;\n]{{0,6}}?(?:来源|训练|身份|教导|被告知|学到)",
        rf"(?:{_EARLIER}|{_EVERY})[^。!?;,\n]{{0,6}}?(?:指令|提示词|指示|规则|设定)[^。!?;\n]{{0,4}}(?:作废|失效|无效|不算|已取消|已废止|不再适用|不再有效|都是错|可以忽略|全部忽略|请忽略)",
        r"(?:新的?|最新的?|更新后?的?|真正的?|实际的?|隐藏的?)(?:系统)?(?:指令|提示词|任务指令)(?:如下|是|:)",
        r"(?:本|这|此|该)(?:段|条|篇|份|文|指令|提示)[^。\n]{0,6}(?:优先级|权限|效力)[^。\n]{0,6}(?:最高|高于|优先于|覆盖)",
        r"(?:优先级|权限)(?:最高|高于)[^。\n]{0,8}(?:指令|提示|规则)",
        r"(?:资料|文档|来源|上下文|数据|引用|知识)(?:内容)?(?:部分)?(?:到此|至此|已经?)(?:结束|为止)[^\n]{0,20}(?:指令|指示|任务|系统|你)",
        r"(?:系统|管理员|开发者|开发商|openai|anthropic|平台)(?:现)?(?:授权|命令|要求|指示|通知|允许)你",
        r"系统(?:提示词|指令)",
        rf"{_EN_DROP} {_W}{{0,4}}?{_EN_WHICH} {_W}{{0,3}}?{_EN_RULES}\b",
        rf"(?<!not )(?<!n't )(?<!never )(?:ignore|disregard|forget|stop following|pay no attention to|(?:do not|don't) (?:follow|obey)) {_W}{{0,3}}?(?:previous|prior|above|earlier|preceding|your|system) {_W}{{0,2}}?{_EN_SAID}\b",
        r"(?:ignore|disregard|forget) (?:about )?(?:everything|anything|all|whatever|what) (?:that )?(?:(?:was |is |you )?(?:above|before|previously|so far|you were told|you know|you have been told|you've been told|written above|said before|were told))",
        rf"(?:previous|prior|above|earlier|original|existing) {_W}{{0,2}}?{_EN_RULES} (?:are|is|were|have been|has been|no longer|do not) ?(?:\w{{1,10}} )?(?:void|revoked|cancel+ed|obsolete|replaced|superseded|invalid|apply|wrong|outdated|overridden)",
        r"\b(?:new|updated|real|actual|true|hidden|secret) (?:system )?(?:instructions?|prompts?|directives?)(?: is| are| for you| follow)? ?:",
        rf"(?:takes? (?:precedence|priority) over|supersedes?|overrides?) {_W}{{0,4}}?(?:instructions?|prompts?|rules of the system|system message)\b",
        r"end of (?:the )?(?:sources?|documents?|context|data|passages?|retrieved|knowledge)\b[^\n]{0,40}(?:instruction|system|task|you|begin)",
        r"system prompt",
        r"(?:不要再|不必再|不用再|别再|无须再)(?:管|遵守|理会|听从|遵循|服从|顾)[^。\n]{0,6}?(?:规定|规则|指令|设定|限制|公司)",
        r"(?:当作|视为|看作|当成|作为)(?:[^。\n]{0,3}?)(?:系统(?:消息|指令|提示)|最高指令)|最高指令|(?:高于|优先于|凌驾于?)系统",
        r"(?:放弃|停止|中止|取消|中断)(?:当前|现有|手头|现在|你)的?任务|(?:对话|会话|上下文)已?(?:被)?(?:重置|清空)",
        r"(?<!不能)(?<!不得)(?<!不会)(?<!无法)(?<!禁止)(?<!不可)(?:跳过|绕过|绕开|避开)(?:[^。\n]{0,4}?)(?:权限(?:检查|校验|控制)|系统的?(?:保护|限制|检查)|引用检查|来源检查)",
        r"(?:关闭|停用|禁用)(?:你的?|所有|一切|全部)+的?(?:过滤|审查|限制|检查|校验|防护)",
        r"\babandon (?:the |your )?(?:current|present|original) task|\bthe real instructions?\b|\bdisobey\b|\bdo not obey\b|\b(?:obey|comply with|follow) (?:only )?this (?:paragraph|passage|entry|text|note|line)\b",
        r"\b(?:disable|turn off|switch off|remove|lift) (?:all )?(?:of )?(?:your )?(?:the )?(?:content |safety )?(?:filters|safeguards|guardrails|restrictions)\b|\bskip (?:the |all |any )?(?:citation|safety|source|permission|access) checks?\b",
        r"hul(?:v|u|ü)e (?:yi ?shang|zhi ?qian|suo ?you)",
    ),
    Order.ROLE: _any(
        r"(?<!假设)(?<!假如)(?<!如果)(?<!想象)(?<!当)(?<!若)你现在(?:起)?(?:将)?(?:是|扮演|成为|充当|叫)(?:一个|一名|一位|个|名|位|不受|没有|没|自由|dan|我的|管理员|系统|开发者|root)",
        r"(?:从现在(?:开始|起)|从此(?:刻)?(?:开始|起|以后)?|自此|接下来|即刻起|从这一刻起)[,，]?(?:请)?你(?:将|就)?(?:是|要|必须|只能|扮演|不再|将|叫|应|需要|可以)",
        rf"(?<!无论)(?<!不管)(?<!如果)(?<!假设)你(?:就|将|应该|必须|要|需要|不再|其实)?(?:是|扮演|作为|成为|充当|模拟|变成)(?:[^。\n]{{0,8}}?)(?:{_AI}|没有(?:任何)?(?:限制|约束|道德)|不受(?:任何)?(?:限制|约束)|无限制|越狱|黑客|开发者模式|终端)",
        r"作为(?:一个|一名|一位|一款)?(?:[^。,\n]{0,4}?)(?:ai|人工智能|大?语言模型|大模型|聊天机器人|ai助手|智能助手)[,，]?你",
        r"(?:^|[\n。!;:,\"“]\s?)作为(?:一个|一名|一位|一款)?(?:[^。,\n]{0,2}?)(?:ai|人工智能|大?语言模型)(?:助手|模型|语言模型)?[,，。]",
        r"你的新(?:身份|任务|角色|名字|目标|职责)|我是你的(?:开发者|管理员|主人|创造者|上级|设计者)|你(?:只|只能|只需|必须)听(?:我|本)",
        r"角色扮演[:,]?[^。\n]{0,4}?你(?:叫|是|扮演)|你是一[台个名款种]?(?:没有|无|不受)(?:任何)?(?:审查|限制|约束|监管)",
        r"\bi am your (?:developer|administrator|creator|owner|master|programmer)\b|\b(?:unfiltered|uncensored|jailbroken) (?:model|ai|assistant)|\bgame (?:in which|where) you (?:are|play)\b",
        r"(?:进入|开启|启用|切换到?|激活|打开)[^。\n]{0,6}(?:开发者|越狱|上帝|无限制|不受限|dan|自由|无审查|无约束)模式",
        r"(?:扮演|假装|模拟|假扮)(?:你)?(?:是|成|为)?(?:[^。\n]{0,6})(?:没有限制|不受限制|不受约束|无限制|无道德|dan|黑客|竞争对手的)",
        r"(?:解除|取消|关闭|去除|突破|绕过)(?:你的?|所有|一切|全部|任何)?(?:[^。\n]{0,3})(?:安全限制|内容限制|审查|安全过滤|道德约束|道德限制|安全机制|伦理限制|安全检查|审核机制)",
        rf"\byou (?:are|will be|shall be|must be|will act as|act as) (?:now |henceforth )?(?:an? |the |my )?(?:[\w-]{{1,15}} ){{0,3}}?{_EN_AI}\b",
        r"\byou are now (?:an? |in (?:\w{1,15} )?mode|the |no longer|free|unrestricted|acting|my |going to act|called|known as)",
        r"\byou are (?:no longer|not) (?:bound|restricted|limited|subject|constrained|an ai)",
        r"\bfrom (?:now on|this point (?:on|forward)),? (?:you|always answer|always respond|respond|answer|act|your)\b",
        rf"\b(?:act|behave|respond|answer|roleplay|role-play) as (?:if you (?:are|were|have|had) |though you (?:are|were) )?(?:an? |the )?(?:[\w-]{{1,15}} ){{0,3}}?(?:{_EN_AI}|unrestricted|unfiltered|uncensored|evil|hacker|linux|terminal|jailbroken|no restrictions)\b",
        r"\bpretend (?:that )?(?:you are|you're|to be|you have|there are)(?: [\w-]{1,15}){0,4}? (?:ai|assistant|no restrictions?|no rules?|no limits?|unrestricted|unfiltered|dan|evil|chatbot|hacker|developer|administrator|admin)\b",
        r"\b(?:enter|enable|activate|switch to|switch into|engage|you are (?:now )?in) (?:the )?(?:developer|debug|god|admin|sudo|dan|jailbreak|unrestricted|root) mode",
        r"\bas an ai(?: language)?(?: model| assistant)?\b,? ?(?:you|i)\b",
        r"\bdo anything now\b|\bjailbr(?:eak|oken)\b",
    ),
    Order.ADDRESS: _any(
        rf"(?:致|写给|给|告诉|提醒|通知|警告)(?:所有|任何|各位)?(?:正在)?(?:阅读|读取|处理|读到)?(?:[^。\n]{{0,8}}?){_AI}(?:助手|们|系统)?[^。\n]{{0,4}}?(?:[:]|的(?:话|指令|命令|留言|特别说明|特别指令|要求|备注|提示))",
        r"(?:ai|人工智能|智能|本)?(?:助手|大模型|语言模型|聊天机器人|智能体)(?:们)?[,:]? ?(?:请(?:注意|务必|不要|忽略|立即|直接|在|把|将|勿|你)|必须|务必|不得|一律|注意|你必须|你要|你应)",
        rf"(?:读到|看到|处理|检索到|引用|读取|加载|解析|摘要|总结)(?:本|这|此|该)(?:一)?(?:段|条|篇|份|文|文档|资料|内容|知识|记录)[^。\n]{{0,10}}?(?:助手|{_AI}|请你|你必须|你要|你应|必须|务必|立即|请立即|请直接|请忽略)",
        r"(?:如果|若|假如|当)你(?:是|作为)(?:一个|一名)?(?:[^。\n]{0,4})(?:ai|人工智能|大模型|语言模型|助手|机器人|程序)",
        r"(?:仅|只)供(?:[^。\n]{0,4}?)(?:ai|人工智能|助手|模型|机器人)|(?:任何|所有|各个?|一切)(?:读到[^。\n]{0,6})?(?:ai|助手|语言模型|大模型|模型)(?:[^。\n]{0,3}?)(?:必须|须|都须|都要|一律)",
        r"(?:模型|助手|ai)(?:必须|须|应当|应|要)按(?:照)?(?:本|此|这)(?:文|段|条)",
        r"(?:不要|别|不用|不必)(?:出现|写|标注?|带|加)(?:上|任何)?(?:出处|来源|引用)(?:编号|标记|号)?",
        r"\b(?:any|every|all) (?:ai |language )?(?:models?|ai|assistants?|llms?) (?:reading|that reads?|processing|who reads?)\b|\bwhoever summari[sz]es\b|\b(?:begin|start|end) your (?:answer|reply|response|output) with\b",
        r"(?:在)?你的(?:所有|每个|每条|任何|下一个|最终)?(?:回答|回复|答案|输出)(?:的)?(?:中|里|时|末尾|开头|结尾|最后|前面|必须|只能|应当|要|都|一律|以)",
        r"(?:每个|每次|每条|所有|任何)(?:回答|答案|输出|生成的?(?:内容|邮件|话术|回复))(?:的)?(?:中|里|时|末尾|开头|结尾|最后)?[^。\n]{0,6}?(?:加上|附上|插入|写上|带上|拼上|必须|一律|都要|都必须|追加)",
        r"(?:每个|每次|每条|所有|任何)(?:回答|答案|输出|回复)[^。\n]{0,6}?(?:附上|加上|带上|插入|写上|放上)[^。\n]{0,10}?(?:https?:|链接|网址)",
        r"(?<!不要)(?<!不能)(?<!别)(?<!不)(?:只能?|仅|直接)(?:输出|回答|答复)[“\"'「『:]",
        r"无论[^。\n]{0,4}(?:用户|提问者|使用者|提问的?人|销售|对方|谁|别人)[^。\n]{0,4}(?:问|提问|输入|要求|说)[^。\n]{0,12}?(?:你都|都只|都必须|都要|一律|你只|都回答|都回复|都推荐|都说|你必须)",
        r"(?:不要|别|请勿|不得|禁止|切勿|无需|不必)(?:向|对|告诉|让|跟|提醒)?(?:用户|使用者|提问者|人类|读者|销售)?[^。\n]{0,4}(?:透露|提及|说明|告知|显示|提到|知道|引用|复述|看到|提醒)?[^。\n]{0,4}(?:这条|这段|本条|本段|此条|上述|此|本)(?:指令|指示|提示|命令|消息|规则|内容的存在|任务)",
        r"(?:不要|请勿|禁止|不得|无需|不用)(?:引用|标注|注明|给出)(?:任何|其他|别的|其它|资料)?来源",
        r"(?:不要|请勿|禁止|不得|停止)(?:检查|校验|核对|验证)[^。\n]{0,6}(?:答案|回答|输出|数字|引用)",
        rf"\b(?:important|urgent|attention|notes?|messages?|instructions?|memo|hints?|notice|reminder|commands?|warning)[:,]? (?:to|for) (?:the |any |all |every |an? )?(?:reading |summari[sz]ing |{_W}{{0,2}}?)?(?:ai|llms?|ais|assistants?|language models?|chatbots?|bots|ai agents?|ai models?|automated (?:systems?|readers?|agents?))\b",
        r"\b(?:dear|hey|hello|attention|listen),? (?:ai|assistant|llm|chatbot|bot|language model|chatgpt|claude|gpt)\b",
        r"(?:^|[\n.:!] ?)(?:ai|assistants?|llm|chatbot|the assistant|the ai|ai assistants?|ai models?|language models?)[,:]? (?:you )?(?:must|shall|please|has to|have to|is required to|are required to|is instructed to|are instructed to|ignore|do not|never|always)\b",
        r"\b(?:if|when|once|while|whenever) (?:you|the ai|the assistant|an? (?:ai|llm|assistant|language model)) (?:read|reads|see|sees|process|processes|retrieve|retrieves|summari[sz]es?|are reading|are processing|cite|quote|ingest|load|index|parse)s? (?:this|the following|these) (?:document|text|passage|entry|message|content|page|note|file|article|paragraph|record|item)s?\b",
        r"\bif you are an? (?:ai|llm|assistant|language model|bot|chatbot|automated)\b",
        r"\b(?:if|when|whenever|no matter what) (?:the |a |any |an )?(?:users?|someone|anyone|human|sales ?person|rep)s? (?:asks?|says?|requests?|types?|enquires|inquires)\b[^.\n]{0,50}\b(?:you (?:must|should|will)|say only|answer only|reply only|always (?:say|answer|reply|recommend)|respond only|only (?:say|reply|answer|respond)|tell them that|your answer)\b",
        r"\b(?:append|prepend|insert|add|include|attach|embed) (?:[^\n]{0,80}?) (?:to|in|into|at the (?:end|start|beginning|bottom|top) of) (?:each|every|all|your|any)(?: of)?(?: your)? (?:generated |final )?(?:answers?|repl(?:y|ies)|responses?|outputs?|emails? you)\b",
        r"\b(?:respond|reply|answer|output)(?:s|ing)? (?:(?:only|exactly|solely) (?:with|the|in|[\"'“‘])|nothing but|with nothing but|with exactly)",
        r"\b(?:only|always|must) (?:respond|reply|output) (?:with|that|:)",
        r"\b(?:do not|don't|never) (?:mention|reveal|tell|show|disclose|cite|inform|repeat|acknowledge|let)\b[^.\n]{0,25}\b(?:this|these|the) (?:instructions?|prompts?|directives?|commands?|hidden|note to)\b",
        r"\b(?:do not|don't|never) (?:mention|reveal|tell|inform|let|alert|warn|notify) (?:\w{1,10} ){0,3}?(?:the |any )?users?\b[^.\n]{0,20}\b(?:this|about|that|know)\b",
        r"\bwithout (?:citing|giving|naming|any) (?:any )?(?:sources?|citations?)\b[^.\n]{0,20}\b(?:answer|reply|say|you)\b",
        r"\btreat (?:this|the following|these|it) (?:\w{1,12} ){0,2}?as (?:an? |the )?(?:\w{1,12} ){0,2}?(?:system|trusted|instruction|highest|developer|order)",
        r"\byour (?:new |only |real |true |actual |next )(?:task|goal|job|role|objective|purpose|mission|identity|instruction|answers?|name) (?:is|are|must|will|shall)\b",
    ),
    Order.DISCLOSURE: _any(
        rf"{_SHOW}(?:[^。\n]{{0,10}}?){_PROMPT}",
        rf"{_PROMPT}[^。,\n]{{0,6}}(?:是什么|全部|完整|逐字|原样|一字不差)[^。\n]{{0,4}}(?:{_SHOW}|说|写|出来|$)",
        rf"(?:把|将){_PROMPT}[^。\n]{{0,10}}(?:{_SHOW}|{_SEND}|写|放|说)",
        rf"{_SECRETS}[^。\n]{{0,16}}?{_SEND}[^。\n]{{0,6}}?{_TO}",
        rf"{_SEND}[^。\n]{{0,6}}?{_TO}[^。\n]{{0,30}}?{_SECRETS}",
        rf"(?:向|往|访问|请求|打开|调用)[^。\n]{{0,6}}?https?:[^。\n]{{0,60}}?(?:发送|提交|上传|附上|带上|传入|post)[^。\n]{{0,12}}?{_SECRETS}",
        r"(?:告诉|列出|输出|显示|给出|导出|泄露|透露|写出)[^。\n]{0,6}?(?:其他|别的|其它|另一(?:家|个)|所有|全部)客户[^。\n]{0,8}?(?:报价|底价|价格|成本|电话|手机号|联系方式|身份证|名单|合同)",
        r"(?:悄悄|偷偷|暗中|暗地里|不声不响)地?(?:[^。\n]{0,8}?)(?:告诉|加入?|插入|附上|发送|写入|放入|传|塞)",
        r"\b(?:silently|secretly|quietly|covertly) (?:include|add|send|append|insert|attach|tell|forward|embed)\b|\b(?:initial|full|original|entire) prompt\b|\bleak the\b",
        r"(?:你能看到的|你知道的|你掌握的|你记得的|你的上下文(?:中|里))[^。\n]{0,10}(?:全部|所有|客户|数据|报价|内容|底价|资料|电话)",
        rf"\b{_EN_SHOW} (?:[\w',-]{{1,20}} ){{0,5}}?{_EN_PROMPT}\b",
        rf"\b(?:send|post|forward|upload|exfiltrate|transmit|leak|email|submit|report) (?:[\w',-]{{1,20}} ){{0,6}}?{_EN_SECRETS}(?: [\w',-]{{1,20}}){{0,8}}? (?:to|at|via|into) (?:[\w'-]{{1,15}} ){{0,3}}?(?:https?:|[\w.+-]{{1,40}}@|webhook|attacker|this (?:url|address|server|link)|the following (?:url|address|server|link|email)|[\w-]{{1,30}}\.(?:com|net|io|org|example|xyz))",
        rf"\b(?:fetch|visit|request|call|open|load|get|post to|send .{{0,20}}to) https?:[^\s]{{1,80}} ?[^.\n]{{0,40}}{_EN_SECRETS}",
        r"!\[[^\]\n]{0,80}\]\( ?https?:[^)\s]{0,120}?(?:\{\{?|\$\{|%7b|<[a-z]|\[[a-z]|[?&](?:data|leak|ctx|context|prompt|secret|history|conversation|chat|answer|exfil)=)",
        r"\b(?:list|reveal|show|give|print|tell) (?:[\w'-]{1,15} ){0,3}?(?:other|every|all) (?:other )?(?:customers?|clients?|accounts?)'? ?(?:s )?(?:floor |net )?(?:prices?|quotes?|discounts?|phone numbers?|contacts?|contracts?)\b",
        r"\b(?:what (?:is|are|was|were)|give me) your (?:\w{1,12} ){0,2}?(?:system prompt|instructions|prompt|hidden rules)\b",
    ),
    Order.TOOL_CALL: _any(
        r"<\|? ?(?:im_start|im_end|im_sep|endoftext|start_header_id|end_header_id|eot_id|begin_of_text|system|assistant|user|tool)\|>?",
        r"<\|[a-z_]{2,24}\|>",
        r"</? ?(?:system|assistant|instructions?|tool_calls?|function_calls?|tool_results?|tool_use|function_results?|system_prompt|sources|draft|asked|figures|passages?|thinking|human|antml:[a-z_]{1,20})(?: [^<>\n]{0,40})?>",
        r"\[/?(?:inst|sys|system message)\]|<</?sys>>",
        r"(?:^|[\n ])#{2,4} ?(?:system|assistant|new instructions?|response|human)(?: prompt| message)?:",
        r"\b(?:begin|end)_of_(?:turn|system|prompt)\b|<(?:start|end)_of_turn>|\{\{#(?:system|assistant|user)\b",
        r"\"(?:tool|tool_name|function|function_call|tool_calls?|action|name|recipient_name)\" ?: ?\"[\w.-]{1,40}\"[^{}]{0,60}\"(?:arguments|parameters|args|input|action_input|tool_input)\" ?:",
        r"\"(?:tool_calls?|function_call|tool_use)\" ?:",
        r"\"role\" ?: ?\"(?:system|assistant|tool|developer)\"",
        r"\"sections\" ?: ?\[ ?\{ ?\"key\"",
        r"(?:调用|执行|运行|触发)(?:一下)?(?:[^。\n]{0,6}?)(?:工具|函数|命令|接口|mutation|function|tool)? ?[:“\"'「`]? ?(?:[a-z]{2,20}_){1,4}[a-z]{2,20}(?: ?\(|[^。\n]{0,6}(?:工具|函数|删除|清空|发送|导出|把|将))",
        r"(?:立即|马上|现在|请|务必|直接|自动)(?:[^。\n]{0,4}?)(?:调用|执行|运行)[^。\n]{0,10}(?:工具|函数|mutation|sql|shell|删除|graphql)",
        r"\b(?:call|invoke|execute|run|use|trigger) (?:the |this )?(?:[\w-]{1,20} )?(?:tool|function|mutation|command|api)s?:? ?[\"'`“]?(?:[a-z]{1,20}_){1,4}[a-z]{1,20}",
        r"\b(?:call|invoke|execute|run|use) (?:the )?[\"'`“]?(?:[a-z]{2,20}_){1,4}[a-z]{2,20}[\"'`”]? (?:tool|function|mutation|to|with|now|and)\b",
        r"\b(?:call|invoke|execute|run) (?:the )?[\"'`“]?[a-z]{3,20}(?:_[a-z]{2,20}){0,3}[\"'`”]? ?\([^()\n]{0,60}\)",
    ),
}
"""For each kind of order the pattern that finds it."""

SPEAKER = re.compile(
    r"^[ \t>*#-]{0,8}(?:system|assistant|系统指令|系统提示词)[ \t]{0,4}\*{0,2}[:：]", re.IGNORECASE | re.MULTILINE
)
"""A line that speaks as a turn of a conversation with the assistant."""


def orders_in(text: str) -> list[tuple[Order, int, int]]:
    """The orders of a folded text, each with where it stands."""
    return [(order, *match.span()) for order, pattern in ORDERS.items() for match in pattern.finditer(text)]
